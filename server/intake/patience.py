"""Reads a stream of messages with a time limit: a client that goes silent in the middle of
an upload must not hold a handler until its connection is found dead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import TypeVar

_T = TypeVar("_T")
_LOOK_SECS = 1.0


class StalledError(Exception):
    """Nothing came within the limit."""


def patient(messages: Iterator[_T], limit_secs: float) -> Generator[_T, None, None]:
    """The same messages; one is read ahead at most.

    Raises:
        StalledError: when the next message takes longer than `limit_secs`; and what `messages`
            raises.
    """
    box: queue.Queue[tuple[_T | None, BaseException | None]] = queue.Queue(maxsize=1)
    left = threading.Event()

    def hand_over(message: _T | None, error: BaseException | None) -> None:
        while not left.is_set():
            with suppress(queue.Full):
                box.put((message, error), timeout=_LOOK_SECS)
                return

    def read() -> None:
        # gRPC offers no way to wait for a message with a limit. When the call ends, so does
        # `messages`, and this thread with it.
        try:
            for message in messages:
                hand_over(message, None)
                if left.is_set():
                    return
        except BaseException as error:
            hand_over(None, error)
        else:
            hand_over(None, StopIteration())

    threading.Thread(target=read, name="upload", daemon=True).start()
    try:
        while True:
            try:
                message, error = box.get(timeout=limit_secs)
            except queue.Empty:
                raise StalledError(f"nothing for {limit_secs:g} s") from None
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            assert message is not None
            yield message
    finally:
        left.set()

"""The event loop of all servers of this process, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for threads that wait for them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, name="loop", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, T], timeout_secs: float) -> T:
        """The coroutine's result.

        Raises:
            TimeoutError: it is cancelled then.
        """
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result(timeout_secs)
        except TimeoutError:
            running.cancel()
            raise

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


@cache
def server_loop() -> LoopThread:
    """The one loop. gRPC hands the events of all its loops to whichever wakes first, so that a
    process with several of them is at the mercy of their order; it is never closed, for the same
    reason."""
    return LoopThread()

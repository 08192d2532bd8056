"""Ends calls in which nothing moves. gRPC's deadline is of a whole call: one that would end a
silent call in time would end a slow one too."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Cancellable(Protocol):
    """A running call."""

    def cancel(self) -> object:
        """End it."""


class Silence:
    """Watches one call; `moved` is called by whoever sees something move."""

    def __init__(self, longest_secs: float) -> None:
        self.longest_secs = longest_secs
        self._moved_secs = time.monotonic()
        self.ended = False
        """Whether the call was ended for its silence."""

    def moved(self) -> None:
        """A message has gone or come."""
        self._moved_secs = time.monotonic()

    @contextmanager
    def watching(self, call: Cancellable) -> Iterator[None]:
        """Within this the call is cancelled after a silence that is too long."""
        over = threading.Event()

        def watch() -> None:
            while (left := self._moved_secs + self.longest_secs - time.monotonic()) > 0:
                if over.wait(left):
                    return
            self.ended = True
            call.cancel()

        threading.Thread(target=watch, name="silence", daemon=True).start()
        try:
            yield
        finally:
            over.set()

"""The server's event loop, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for threads that wait for them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_secs: float | None = None) -> T:
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

    def close(self, timeout_secs: float) -> None:
        """End the loop; what still runs in it is dropped."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout_secs)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

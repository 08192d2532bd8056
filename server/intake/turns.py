"""Who keeps others waiting loses his turn. One timer looks after all, for a timer a message costs
more than the message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

_LONGEST_SECS = 0.5
"""Of one turn: who sends or takes all he may at once does not keep others waiting for longer."""


class Waits:
    """Tells of waits that last longer than `limit_secs`, soon after. Used in one loop."""

    def __init__(self, limit_secs: float) -> None:
        self._limit_secs = limit_secs
        self._running: dict[object, tuple[float, Callable[[], None]]] = {}
        self._looking = False

    def begin(self, key: object, late: Callable[[], None]) -> None:
        """A wait begins; `late` is called, once, if it lasts too long."""
        loop = asyncio.get_running_loop()
        self._running[key] = loop.time(), late
        if not self._looking:
            self._looking = True
            loop.call_later(self._limit_secs / 2, self._look)

    def end(self, key: object) -> None:
        """It is over."""
        self._running.pop(key, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() - self._limit_secs
        for key, (begun, late) in list(self._running.items()):
            if begun <= due:
                del self._running[key]
                late()
        self._looking = bool(self._running)
        if self._looking:
            loop.call_later(self._limit_secs / 2, self._look)


class Turns:
    """So many at once."""

    def __init__(self, count: int, limit_secs: float) -> None:
        self._free = asyncio.Semaphore(count)
        self.waits = Waits(limit_secs)

    def turn(self) -> Turn:
        """One transfer's turns, the first of which it still has to take."""
        return Turn(self._free, self.waits)


class Turn:
    """Taken, kept from message to message for a while, and lost when one of them takes too long."""

    def __init__(self, free: asyncio.Semaphore, waits: Waits) -> None:
        self._free, self._waits, self._until = free, waits, 0.0
        self.held = self.lost = False
        """lost: for a message that took too long."""

    async def take(self) -> None:
        """Wait for it, unless it is held."""
        if not self.held:
            await self._free.acquire()
            self.held = True
            self._until = asyncio.get_running_loop().time() + _LONGEST_SECS

    def give_back(self) -> None:
        """Let the next one have it; also if it is not held."""
        if self.held:
            self.held = False
            self._free.release()

    def _lose(self) -> None:
        self.lost = True
        self.give_back()

    def __enter__(self) -> None:
        """A message begins."""
        if self.held:
            self._waits.begin(self, self._lose)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waits.end(self)
        if self.held and asyncio.get_running_loop().time() > self._until:
            self.give_back()

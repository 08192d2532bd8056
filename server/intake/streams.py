"""Limits of calls that transfer much: how long, how slowly, how many of one client.

A phone on a slow line may take as long as its lease lasts; one that sends nothing, or a byte now
and then, may not.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import grpc
from pydantic import BaseModel, ConfigDict, Field

from fedvoice.server.calls import RefusedError

_LATER_SECS = 0.01  # timers of a loop may be early
_LAST_STEPS, _LAST_STEP_SECS = 100, 0.01


class StreamSettings(BaseModel):
    """Limits of one call, and of all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    header_secs: float = Field(default=10.0, gt=0)
    """A report's first message comes within this time."""
    silence_secs: float = Field(default=30.0, gt=0)
    """Longest gap: a phone in a tunnel."""
    least_bytes_per_sec: float = Field(default=1000.0, ge=0)
    """Over `window_secs`; a phone with less would not finish anything."""
    window_secs: float = Field(default=60.0, gt=0)
    longest_secs: float = Field(default=3600.0, gt=0)
    """Of a call that no lease ends sooner."""
    most_empty: int = Field(default=64, ge=0)
    """Messages without data in one call."""
    most_of_a_client: int = Field(default=2, ge=1)
    """Transfers at once; a newer one ends the oldest, which a cut line may have left behind."""
    most: int = Field(default=10_000, ge=1)
    """Calls at once of all clients; further ones are told to come again."""


class OverError(Exception):
    """The round or the lease of a transfer has ended."""


class Watch:
    """The pace of one call. Times are seconds of any one clock.

    Args:
        lease_secs: what is left of the call's lease; None: it has none.
    """

    def __init__(self, settings: StreamSettings, now: float, lease_secs: float | None) -> None:
        self._settings = settings
        self._deadline_secs = now + (settings.longest_secs if lease_secs is None else lease_secs)
        self._window_secs, self._window_bytes, self._empty = now, 0, 0

    def patience_secs(self, now: float) -> float:
        """How long the next message may take."""
        return max(0.0, min(self._settings.silence_secs, self._deadline_secs - now))

    def begin(self, now: float) -> None:
        """The other side is asked to move from now on: what was waited for before is not its
        fault."""
        self._window_secs = now

    def moved(self, data_bytes: int, now: float) -> None:
        """A message has gone over the line.

        Raises:
            RefusedError: too many empty ones, or too few bytes for a whole window.
            OverError: after the deadline.
        """
        if now >= self._deadline_secs:
            raise OverError
        settings = self._settings
        self._empty += data_bytes == 0
        if self._empty > settings.most_empty:
            raise RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT, f"more than {settings.most_empty} empty messages"
            )
        self._window_bytes += data_bytes
        passed = now - self._window_secs
        if passed >= settings.window_secs:
            if self._window_bytes < settings.least_bytes_per_sec * passed:
                raise RefusedError(
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    f"{self._window_bytes} bytes in {passed:.0f} s: at least "
                    f"{settings.least_bytes_per_sec:g} a second wanted; what was received is kept, "
                    "ask ReportStatus and resume",
                )
            self._window_secs, self._window_bytes = now, 0

    def too_long(self, now: float) -> NoReturn:
        """A message did not come within `patience_secs`.

        Raises:
            OverError: the lease has ended. RefusedError: it has not.
        """
        if now >= self._deadline_secs:
            raise OverError
        raise RefusedError(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            f"nothing for {self._settings.silence_secs:g} s: what was received is kept, ask "
            "ReportStatus and resume",
        )


@dataclass(eq=False)
class Stream:
    """One transfer. Another part of the loop may end it."""

    task: asyncio.Task[object]
    round: tuple[int, str] | None = None
    """(number, work) that it belongs to: the round's end ends it."""
    ended: Exception | None = field(default=None)

    def end(self, why: Exception) -> None:
        """Interrupt it; it then raises `why`."""
        if self.ended is None:
            self.ended = why
            self.task.cancel()


class Guard:
    """Ends a transfer whose next message does not come in time, or whose lease has ended. It needs
    one timer for many messages."""

    def __init__(self, watch: Watch, stream: Stream) -> None:
        self._watch, self._stream = watch, stream
        self._since: float | None = None
        """When the present wait for the other side began."""

    def __enter__(self) -> Guard:
        self._look()
        return self

    def __exit__(self, *raised: object) -> None:
        self._timer.cancel()

    def waits(self) -> float:
        """A message is waited for from now on; the time."""
        self._since = now = time.monotonic()
        return now

    def moved(self, data_bytes: int) -> float:
        """The message has gone over the line; the time.

        Raises:
            As `Watch.moved`.
        """
        self._since, now = None, time.monotonic()
        self._watch.moved(data_bytes, now)
        return now

    def _look(self) -> None:
        now = time.monotonic()
        since = now if self._since is None else self._since
        left_secs = since + self._watch.patience_secs(since) - now
        if left_secs > 0:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(left_secs + _LATER_SECS, self._look)
            return
        try:
            self._watch.too_long(now)
        except (RefusedError, OverError) as why:
            self._stream.end(why)


class Streams:
    """All transfers of a server; used in its loop alone."""

    def __init__(self, settings: StreamSettings) -> None:
        self.settings = settings
        self._of_client: defaultdict[str, deque[Stream]] = defaultdict(deque)
        self.count = 0
        """Transfers that run now."""

    @asynccontextmanager
    async def entered(self, client_id: str) -> AsyncIterator[Stream]:
        """A transfer of an admitted client.

        Raises:
            RefusedError: it was ended for a newer one. OverError: its round has ended.
        """
        task = asyncio.current_task()
        assert task is not None, "in a handler"
        stream, own = Stream(task), self._of_client[client_id]
        own.append(stream)
        self.count += 1
        try:
            if len(own) > self.settings.most_of_a_client:
                await self._ended(own[0], own)  # meanwhile this one may be ended, too
            yield stream
        except asyncio.CancelledError:
            if stream.ended is None:
                raise
            task.uncancel()
            raise stream.ended from None
        finally:
            own.remove(stream)
            self.count -= 1
            if not own:
                self._of_client.pop(client_id, None)

    async def _ended(self, oldest: Stream, own: deque[Stream]) -> None:
        oldest.end(RefusedError(grpc.StatusCode.ABORTED, "a newer call of this client began"))
        # It closes its file before the newer one opens the same.
        for _ in range(_LAST_STEPS):
            if oldest not in own:
                return
            await asyncio.sleep(_LAST_STEP_SECS)

    def round_over(self, number: int, work: str) -> None:
        """End the transfers of a round."""
        for own in list(self._of_client.values()):
            for stream in list(own):
                if stream.round == (number, work):
                    stream.end(OverError())

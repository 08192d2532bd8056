"""Messages in and out: in turns, for what is on its way lies in memory, and never for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from concurrent.futures import Executor
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError

from fedvoice.server.calls import Context, RefusedError
from fedvoice.server.intake.downloads import (
    LARGEST_BYTES,
    LEAST_BYTES,
    SMALLEST_BYTES,
    Outgoing,
    next_data_bytes,
)
from fedvoice.server.intake.framing import chunk_data
from fedvoice.server.intake.meter import DownloadBytes, UploadBytes
from fedvoice.server.intake.places import Places
from fedvoice.server.intake.reports import Reception
from fedvoice.server.intake.streams import Guard, Stream, StreamSettings, Watch
from fedvoice.server.intake.turns import Turn, Turns, Waits

_AT_ONCE = 8
_QUICK_SECS, _LATE_SECS = 0.05, 0.25
"""A reader that takes a message within the first is sent a larger one; who takes longer than the
second loses its turn."""
_PAUSE_SECS = 0.05
"""A sender that makes a longer pause loses its place."""
_HELD_SECS, _HELD_BYTES_PER_SEC = 0.5, 10_000_000
"""An update that takes longer than these allow loses its place, too."""

T = TypeVar("T")


class Transfers:
    """All of a server; used in its loop alone.

    Args:
        threads: for what waits for the disk.
        update_bytes: the longest update that is held in memory.
    """

    def __init__(self, settings: StreamSettings, threads: Executor, update_bytes: int) -> None:
        self._settings, self._threads = settings, threads
        self._places, self._holding = Places(update_bytes), Waits(_PAUSE_SECS)
        self._sending, self._receiving = (Turns(_AT_ONCE, _LATE_SECS) for _ in range(2))
        self._closing: set[asyncio.Future[Any]] = set()

    async def send(
        self,
        blob: Outgoing,
        offset: int,
        counted: DownloadBytes,
        context: Context,
        stream: Stream,
        lease_secs: float | None,
        most_bytes: int = 0,
    ) -> None:
        """A blob from the offset on, in larger messages for who takes them quickly, with
        `most_bytes` of data at most (0: any). Large ones take turns."""
        most_bytes = min(max(most_bytes or LARGEST_BYTES, LEAST_BYTES), LARGEST_BYTES)
        first_bytes = piece_bytes = min(SMALLEST_BYTES, most_bytes)
        turn = self._sending.turn()
        watch = Watch(self._settings, time.monotonic(), lease_secs)
        try:
            with Guard(watch, stream) as guard:
                while offset < blob.size_bytes:
                    if piece_bytes > SMALLEST_BYTES:
                        await turn.take()
                    data_bytes = next_data_bytes(piece_bytes, offset, blob.size_bytes)
                    message = blob.message(offset, data_bytes)
                    counted.chunk(data_bytes)
                    begun = guard.waits()
                    with turn:
                        await context.write(message)
                    secs = guard.moved(data_bytes) - begun
                    offset += data_bytes
                    if secs < _QUICK_SECS:
                        piece_bytes = min(piece_bytes * 2, most_bytes)
                    elif not turn.held:
                        piece_bytes = first_bytes
        finally:
            turn.give_back()

    async def receive(
        self, reception: Reception, counted: UploadBytes, context: Context, stream: Stream
    ) -> None:
        """All chunks of a report, or as many as are wanted."""
        upload = reception.upload
        assert upload is not None, "chunks are wanted"
        turn = self._receiving.turn()
        watch = Watch(self._settings, time.monotonic(), reception.lease_secs)
        try:
            with Guard(watch, stream) as guard:
                if upload.fresh and reception.payload_bytes <= self._places.place_bytes:
                    await self._places.hold(upload)
                watch.begin(begun := time.monotonic())
                held_until = begun + _HELD_SECS
                held_until += reception.payload_bytes / _HELD_BYTES_PER_SEC
                wanted = True
                while wanted:
                    if reception.held and time.monotonic() > held_until:
                        await asyncio.shield(self._spill(reception))
                    message = await self._read(reception, turn, guard, context)
                    if message is grpc.aio.EOF:
                        break
                    wanted = reception.wanted and _taken(message, reception, counted, guard)
                    del message  # not kept while waiting for the next one
        finally:
            turn.give_back()

    async def ended(self, reception: Reception, last: Awaitable[T] | None = None) -> T | None:
        """Close a reception, after the last that is done with it; the result of that. It is done
        whatever becomes of the caller, and the place is free only then."""

        async def closed() -> T | None:
            try:
                return None if last is None else await last
            finally:
                upload = reception.upload
                if upload is not None and not upload.ended:
                    loop = asyncio.get_running_loop()
                    await loop.run_in_executor(self._threads, upload.close)
                reception.close()
                self._places.give_back(reception.upload)

        closing = asyncio.ensure_future(closed())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return await asyncio.shield(closing)

    @property
    def closing(self) -> bool:
        """Whether what came of a transfer is still being kept; its caller may have gone."""
        return bool(self._closing)

    async def _read(
        self, reception: Reception, turn: Turn, guard: Guard, context: Context
    ) -> bytes:
        """The next message, or EOF. Who has a place and does not send gives it away; the others
        take turns, until they are too slow for them."""
        if not reception.held:
            if not turn.lost:
                await turn.take()
            guard.waits()
            with turn:
                message: bytes = await context.read()
            return message
        spilling: list[asyncio.Future[None]] = []

        def late() -> None:
            turn.lost = True
            spilling.append(self._spill(reception))

        guard.waits()
        self._holding.begin(reception.upload, late)
        try:
            message = await context.read()
        finally:
            self._holding.end(reception.upload)
        for each in spilling:
            await asyncio.shield(each)
        return message

    def _spill(self, reception: Reception) -> asyncio.Future[None]:
        """Let it go on in a file; done when its place is free."""
        loop = asyncio.get_running_loop()
        spilling = loop.run_in_executor(self._threads, reception.spill)
        spilling.add_done_callback(lambda _: self._places.give_back(reception.upload))
        return spilling


def _taken(message: bytes, reception: Reception, counted: UploadBytes, guard: Guard) -> bool:
    """Keep what a message holds; False: nothing more is wanted."""
    try:
        data = chunk_data(message)
    except DecodeError:
        data = None
    if data is None:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "after the header come chunks only")
    counted.chunk(len(data))
    guard.moved(len(data))
    return reception.take(data)

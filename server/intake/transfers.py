"""Messages in and out: in turns, for what is on its way lies in memory, and never for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError

from fedvoice.server.calls import Context, RefusedError
from fedvoice.server.intake.downloads import (
    LARGEST_BYTES,
    SMALLEST_BYTES,
    Outgoing,
    next_data_bytes,
)
from fedvoice.server.intake.framing import chunk_data
from fedvoice.server.intake.meter import DownloadBytes, UploadBytes
from fedvoice.server.intake.places import Places
from fedvoice.server.intake.reports import Reception
from fedvoice.server.intake.streams import OverError, StreamSettings, Watch

_AT_ONCE = 8
_QUICK_SECS, _SLOW_SECS = 0.05, 1.0
"""Who takes longer than the first for a message loses turn or place, and is not sent larger ones;
longer than the second, small ones again."""

T = TypeVar("T")


class _Turns:
    """So many at once; who is not done quickly goes on, and the next one begins."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    async def __call__(self, transfer: Callable[[], Awaitable[T]]) -> T:
        """The result of a transfer that begins in its turn."""
        async with _Turn(self._free):
            return await transfer()


class _Turn:
    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free, self._over = free, False

    async def __aenter__(self) -> None:
        await self._free.acquire()
        self._timer = asyncio.get_running_loop().call_later(_QUICK_SECS, self._end)

    async def __aexit__(self, *raised: object) -> None:
        self._timer.cancel()
        self._end()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._free.release()


class Transfers:
    """All of a server; used in its loop alone.

    Args:
        threads: for what waits for the disk.
        update_bytes: the longest update that is held in memory.
    """

    def __init__(self, settings: StreamSettings, threads: Executor, update_bytes: int) -> None:
        self._settings, self._threads = settings, threads
        self._places = Places(update_bytes)
        self._sending, self._receiving = _Turns(_AT_ONCE), _Turns(_AT_ONCE)

    async def send(
        self,
        blob: Outgoing,
        offset: int,
        counted: DownloadBytes,
        context: Context,
        lease_secs: float | None,
    ) -> None:
        """A blob from the offset on, in larger messages for who takes them quickly."""
        watch = Watch(self._settings, time.monotonic(), lease_secs)
        piece_bytes = SMALLEST_BYTES
        while offset < blob.size_bytes:
            data_bytes = next_data_bytes(piece_bytes, offset, blob.size_bytes)
            message = blob.message(offset, data_bytes)
            counted.chunk(data_bytes)
            if data_bytes <= SMALLEST_BYTES:
                secs = await _timed(watch, context, message)
            else:
                secs = await self._sending(partial(_timed, watch, context, message))
            watch.moved(data_bytes, time.monotonic())
            offset += data_bytes
            if secs < _QUICK_SECS:
                piece_bytes = min(piece_bytes * 2, LARGEST_BYTES)
            elif secs > _SLOW_SECS:
                piece_bytes = SMALLEST_BYTES

    async def receive(self, reception: Reception, counted: UploadBytes, context: Context) -> None:
        """All chunks of a report, or as many as are wanted."""
        begun = time.monotonic()
        await self._hold(reception)
        now = time.monotonic()
        watch = Watch(self._settings, now, reception.lease_secs - (now - begun))
        wanted = True
        while wanted and (message := await self._read(reception, watch, context)) is not None:
            wanted = reception.wanted and _taken(message, reception, counted, watch)
            del message  # not kept while waiting for the next one

    async def end(self, reception: Reception, last: Callable[[], T]) -> T:
        """The result of what is done last with a reception. Whatever becomes of its caller, its
        place is free only then."""
        ending = asyncio.get_running_loop().run_in_executor(self._threads, last)
        ending.add_done_callback(lambda _: self._places.give_back(reception.upload))
        return await asyncio.shield(ending)

    async def _hold(self, reception: Reception) -> None:
        """Wait for a place, if it is for such an upload.

        Raises:
            OverError: its lease has ended before.
        """
        upload = reception.upload
        assert upload is not None, "chunks are wanted"
        if upload.fresh and reception.header.payload.size_bytes <= self._places.place_bytes:
            try:
                async with asyncio.timeout(reception.lease_secs):
                    await self._places.hold(upload)
            except TimeoutError:
                raise OverError from None

    async def _read(self, reception: Reception, watch: Watch, context: Context) -> bytes | None:
        """The next message, None at the end. Who has a place and does not send at once gives it
        away; the others take turns."""
        spilling: list[asyncio.Future[None]] = []

        def spill() -> None:
            loop = asyncio.get_running_loop()
            spilling.append(loop.run_in_executor(self._threads, reception.spill))
            spilling[0].add_done_callback(lambda _: self._places.give_back(reception.upload))

        if reception.held:
            timer = asyncio.get_running_loop().call_later(_QUICK_SECS, spill)
            try:
                message = await _patiently(watch, context.read())
            finally:
                timer.cancel()
            for each in spilling:
                await asyncio.shield(each)
        else:
            message = await self._receiving(lambda: _patiently(watch, context.read()))
        return None if message is grpc.aio.EOF else message


def _taken(message: bytes, reception: Reception, counted: UploadBytes, watch: Watch) -> bool:
    """Keep what a message holds; False: nothing more is wanted."""
    try:
        data = chunk_data(message)
    except DecodeError:
        data = None
    if data is None:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "after the header come chunks only")
    counted.chunk(len(data))
    watch.moved(len(data), time.monotonic())
    return reception.take(data)


async def _timed(watch: Watch, context: Context, message: bytes) -> float:
    """Send a message; how many seconds it took."""
    begun = time.monotonic()
    await _patiently(watch, context.write(message))
    return time.monotonic() - begun


async def _patiently(watch: Watch, waiting: Awaitable[Any]) -> Any:
    """The result; `RefusedError` or `OverError` if it takes too long."""
    try:
        async with asyncio.timeout(watch.patience_secs(time.monotonic())):
            return await waiting
    except TimeoutError:
        watch.too_long(time.monotonic())

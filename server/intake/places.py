"""Memory for whole updates: the fast ones go through it one after another, however many there are.

What lies in memory as a whole is written with one call and folded without being read back. A place
is for phones that keep sending: who does not gives it away and goes on through a file, so that one
fast line is never behind many slow ones. Used in the server's loop alone.
"""

from __future__ import annotations

import asyncio

from fedvoice.server.store.blobs import Upload
from fedvoice.server.store.direct import aligned_memory

_MOST_BYTES = 32 * 1024 * 1024
_FEWEST, _MOST = 2, 4


class Places:
    """Args: place_bytes: the longest update that is to be held."""

    def __init__(self, place_bytes: int) -> None:
        self.place_bytes = place_bytes
        count = max(_FEWEST, min(_MOST, _MOST_BYTES // max(1, place_bytes)))
        # The place used last is taken first: those that are not needed are never allocated.
        self._free: asyncio.LifoQueue[memoryview | None] = asyncio.LifoQueue()
        for _ in range(count):
            self._free.put_nowait(None)
        self._taken: dict[Upload, memoryview] = {}

    async def hold(self, upload: Upload) -> None:
        """Wait for a place and keep the upload there."""
        place = await self._free.get()
        if place is None:
            place = aligned_memory(self.place_bytes)
        self._taken[upload] = place
        upload.hold(place)

    def give_back(self, upload: Upload | None) -> None:
        """The upload needs its place no more; also if it has none."""
        place = None if upload is None else self._taken.pop(upload, None)
        if place is not None:
            self._free.put_nowait(place)

"""Blobs as the messages in which they go out.

Everybody fetches the same weights: their messages are made once and kept, so that a download costs
neither a read nor a copy. Everything else is read from its file, piece by piece.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

from fedvoice.protocol.codec import CHUNK_BYTES
from fedvoice.server.intake.framing import chunk_message

SMALLEST_BYTES, LARGEST_BYTES = CHUNK_BYTES // 4, CHUNK_BYTES * 2
"""Data of one message."""
LEAST_BYTES = CHUNK_BYTES // 16
"""However small the messages that a phone asks for."""


class Outgoing(Protocol):
    """A blob that is being sent."""

    size_bytes: int

    def message(self, offset: int, data_bytes: int) -> bytes:
        """A `Chunk`, serialised, with the data from `offset` on. Raises OSError."""

    def close(self) -> None:
        """It will not be asked for more."""


class _Kept:
    """All messages of a blob, each with `LARGEST_BYTES` of data but the last."""

    def __init__(self, path: Path) -> None:
        self.size_bytes, self._messages = 0, list[bytes]()
        with path.open("rb", buffering=0) as file:
            while data := file.read(LARGEST_BYTES):
                self._messages.append(chunk_message(data))
                self.size_bytes += len(data)

    def message(self, offset: int, data_bytes: int) -> bytes:
        index, start = divmod(offset, LARGEST_BYTES)
        whole = self._messages[index]
        data = min(LARGEST_BYTES, self.size_bytes - index * LARGEST_BYTES)
        if start == 0 and data_bytes == data:
            return whole
        first = len(whole) - data + start
        return chunk_message(whole[first : first + data_bytes])

    def close(self) -> None:
        pass


class _Read:
    """A blob in its file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self.size_bytes = os.fstat(self._file).st_size

    def message(self, offset: int, data_bytes: int) -> bytes:
        return chunk_message(os.pread(self._file, data_bytes, offset))

    def close(self) -> None:
        os.close(self._file)


class Downloads:
    """Blobs to send; safe to call from several threads.

    Args:
        most_bytes: kept in memory; the blob that was asked for last is kept whatever its size.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, digest: str, path: Path, *, keep: bool) -> Outgoing:
        """The blob of a digest; `keep`: others will ask for it, too.

        Raises:
            OSError: the file has gone.
        """
        if not keep:
            return _Read(path)
        with self._lock:
            if digest not in self._kept:
                self._kept[digest] = _Kept(path)
            self._kept.move_to_end(digest)
            while (
                len(self._kept) > 1
                and sum(blob.size_bytes for blob in self._kept.values()) > self._most_bytes
            ):
                self._kept.popitem(last=False)
            return self._kept[digest]


def next_data_bytes(piece_bytes: int, offset: int, size_bytes: int) -> int:
    """Data of the message at `offset` for a reader that takes `piece_bytes` at once: kept messages
    are met at their beginning, however it began."""
    return min(piece_bytes, LARGEST_BYTES - offset % LARGEST_BYTES, size_bytes - offset)

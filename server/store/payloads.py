"""Payload files read piece by piece, so that an update never lies in memory as a whole.

Encodings are those of `protocol.codec`; what is read here equals what `codec.decode` gives. A piece
holds whole blocks of int8's, all but the last one.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
import zstandard

from fedvoice.algorithm.aggregation import CHUNK_ELEMENTS
from fedvoice.protocol.codec import check_encoding, plain_bytes, read_plain
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import Float32Array


class _Source(Protocol):
    def readinto(self, into: memoryview, /) -> int | None: ...


_WINDOW_BYTES = 8 * 1024 * 1024  # what one stream may make the reader allocate


def read_payload(source: Path | memoryview, encoding: str, size: int) -> Iterator[Float32Array]:
    """The payload's values in order, float32 [<= 65536] a piece, valid until the next one.

    Args:
        source: its file, or its bytes.

    Raises:
        FedvoiceError: `bad-encoding`; `wrong-shape` unless there are exactly `size` values.
    """
    where = source.name if isinstance(source, Path) else "payload"
    check_encoding(encoding, where)
    if isinstance(source, memoryview) and encoding == "float32":
        yield from _read_floats(source, size)
        return
    with source.open("rb", buffering=0) if isinstance(source, Path) else BytesIO(source) as file:
        reader: _Source = file
        if "+" in encoding:
            reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES).stream_reader(file)
        buffer = bytearray(plain_bytes(encoding, CHUNK_ELEMENTS))
        view = memoryview(buffer)
        left = size
        try:
            while left:
                count = min(left, CHUNK_ELEMENTS)
                wanted = plain_bytes(encoding, count)
                if _fill(reader, view[:wanted]) < wanted:
                    raise _wrong_size(where, f"{left} or so too few", size)
                yield read_plain(view[:wanted], encoding, count)
                left -= count
            if _fill(reader, view[:1]):
                raise _wrong_size(where, "too many", size)
        except zstandard.ZstdError as error:
            raise FedvoiceError(
                ErrorCode.BAD_ENCODING,
                where=where,
                got=f"bytes that are not zstd ({error})",
                wanted=encoding,
                next_step="Send the bytes again; if it persists, the sender is at fault.",
            ) from error


def _read_floats(data: memoryview, size: int) -> Iterator[Float32Array]:
    """Not copied."""
    if len(data) != 4 * size:
        raise _wrong_size("payload", f"{len(data)} bytes", size)
    values = np.frombuffer(data, "<f4")
    for start in range(0, size, CHUNK_ELEMENTS):
        yield values[start : start + CHUNK_ELEMENTS]


def _fill(source: _Source, view: memoryview) -> int:
    filled = 0
    while filled < len(view):
        count = source.readinto(view[filled:])
        if not count:
            break
        filled += count
    return filled


def _wrong_size(where: str, got: str, size: int) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.WRONG_SHAPE,
        where=where,
        got=got,
        wanted=f"{size} values",
        next_step="Use a vector of the task the round is for.",
    )

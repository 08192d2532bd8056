"""Payload files read piece by piece, so that an update never lies in memory as a whole.

Encodings are those of `protocol.codec`; what is read here equals what `codec.decode` gives. A piece
holds whole blocks of int8's, all but the last one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from fedvoice.algorithm.aggregation import CHUNK_ELEMENTS
from fedvoice.protocol.codec import check_encoding, plain_bytes, read_plain
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import Float32Array

_WINDOW_BYTES = 8 * 1024 * 1024  # what one stream may make the reader allocate


def read_payload(path: Path, encoding: str, size: int) -> Iterator[Float32Array]:
    """The payload's values in order, float32 [<= 65536] a piece, valid until the next one.

    Raises:
        FedvoiceError: `bad-encoding`; `wrong-shape` unless there are exactly `size` values.
    """
    check_encoding(encoding, path.name)
    with path.open("rb", buffering=0) as file:
        source: BinaryIO | zstandard.ZstdDecompressionReader = file
        if "+" in encoding:
            source = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES).stream_reader(file)
        buffer = bytearray(plain_bytes(encoding, CHUNK_ELEMENTS))
        view = memoryview(buffer)
        left = size
        try:
            while left:
                count = min(left, CHUNK_ELEMENTS)
                wanted = plain_bytes(encoding, count)
                if _fill(source, view[:wanted]) < wanted:
                    raise _wrong_size(path, f"{left} or so too few", size)
                yield read_plain(view[:wanted], encoding, count)
                left -= count
            if _fill(source, view[:1]):
                raise _wrong_size(path, "too many", size)
        except zstandard.ZstdError as error:
            raise FedvoiceError(
                ErrorCode.BAD_ENCODING,
                where=path.name,
                got=f"bytes that are not zstd ({error})",
                wanted=encoding,
                next_step="Send the bytes again; if it persists, the sender is at fault.",
            ) from error


def _fill(source: BinaryIO | zstandard.ZstdDecompressionReader, view: memoryview) -> int:
    filled = 0
    while filled < len(view):
        count = source.readinto(view[filled:])  # type: ignore[union-attr]
        if not count:
            break
        filled += count
    return filled


def _wrong_size(path: Path, got: str, size: int) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.WRONG_SHAPE,
        where=path.name,
        got=got,
        wanted=f"{size} values",
        next_step="Use a vector of the task the round is for.",
    )

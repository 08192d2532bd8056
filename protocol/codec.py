"""Flat vectors <-> bytes.

Encodings: `float32` (little-endian, exact), `float16` (half the bytes; values beyond 65504 are
refused), `int8` (a quarter; `protocol/quantised.py`), and each with `+zstd`. The digest of a
payload is always over the encoded bytes.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.quantised import dequantise, quantise, quantised_bytes

ENCODINGS = ("float32", "float32+zstd", "float16", "float16+zstd", "int8", "int8+zstd")
ENCODINGS_OF_0_1_0 = ENCODINGS
"""Those of phones that do not say which they know."""
CHUNK_BYTES = 256 * 1024
"""Size of the chunks in which blobs travel."""

_ZSTD_LEVEL = 3
_DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
}


def digest_of(data: bytes | memoryview) -> str:
    """sha256 of `data`, hex."""
    return hashlib.sha256(data).hexdigest()


def check_encoding(encoding: str, where: str) -> None:
    """Raise `bad-encoding` unless `encoding` is one of `ENCODINGS`."""
    if encoding not in ENCODINGS:
        raise FedvoiceError(
            ErrorCode.BAD_ENCODING,
            where=where,
            got=repr(encoding),
            wanted=f"one of {', '.join(ENCODINGS)}",
            next_step="Choose a listed encoding, or update the side that does not know it.",
        )


def encode(flat: FlatVector, encoding: str) -> bytes:
    """Bytes of `flat` float32 [P] in `encoding`.

    Raises:
        FedvoiceError: `bad-encoding`; `not-finite` if float16 or int8 cannot hold a value.
    """
    check_encoding(encoding, "encode")
    base, _, compression = encoding.partition("+")
    data = quantise(flat) if base == "int8" else _write_floats(flat, base)
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(data) if compression else data


def _write_floats(flat: FlatVector, base: str) -> bytes:
    with np.errstate(over="ignore"):
        values: npt.NDArray[Any] = flat.astype(_DTYPES[base], copy=False)
    if base == "float16" and not np.isfinite(values).all():
        raise FedvoiceError(
            ErrorCode.NOT_FINITE,
            where="encode",
            got="a value beyond float16's range",
            wanted="values within +-65504",
            next_step="Use float32, or clip the update.",
        )
    return values.tobytes()


def plain_bytes(encoding: str, size: int) -> int:
    """Bytes that `size` values take in `encoding` before compression."""
    base = encoding.partition("+")[0]
    return quantised_bytes(size) if base == "int8" else size * _DTYPES[base].itemsize


def read_plain(data: bytes | memoryview, encoding: str, size: int) -> FlatVector:
    """`size` values as float32 [size] from their `plain_bytes` uncompressed bytes.

    May be a view of `data`: copy what must last.
    """
    base = encoding.partition("+")[0]
    if base == "int8":
        return dequantise(data, size)
    values: FlatVector = np.frombuffer(data, _DTYPES[base], size).astype(np.float32, copy=False)
    return values


def decode(data: bytes | memoryview, encoding: str, size: int, where: str) -> FlatVector:
    """A flat float32 vector [size], writable, from `encode`'s bytes.

    Args:
        size: P, the number of floats wanted.
        where: named in errors (the blob's digest or the report's id).

    Raises:
        FedvoiceError: `bad-encoding`; `wrong-shape` if there are not exactly `size` values.
    """
    check_encoding(encoding, where)
    wanted_bytes = plain_bytes(encoding, size)
    if "+" in encoding:
        try:
            # One byte more than wanted is enough to see that there are too many: a small blob
            # that would swell to gigabytes is never unpacked.
            reader = zstandard.ZstdDecompressor().stream_reader(bytes(data))
            data = reader.read(wanted_bytes + 1)
        except zstandard.ZstdError as error:
            raise FedvoiceError(
                ErrorCode.BAD_ENCODING,
                where=where,
                got=f"bytes that are not zstd ({error})",
                wanted=encoding,
                next_step="Send the bytes again; if it persists, the sender is at fault.",
            ) from error
    if len(data) != wanted_bytes:
        raise FedvoiceError(
            ErrorCode.WRONG_SHAPE,
            where=where,
            got=f"{len(data)} bytes",
            wanted=f"{wanted_bytes} bytes ({size} values as {encoding.partition('+')[0]})",
            next_step="Use a vector of the task the round is for.",
        )
    values = read_plain(data, encoding, size)
    return values if values.flags.owndata else values.copy()


def largest_payload_bytes(encoding: str, size: int) -> int:
    """Bytes that P = `size` values can take at most; compressed ones may grow a little.

    Raises:
        FedvoiceError: `bad-encoding`.
    """
    check_encoding(encoding, "payload")
    plain = plain_bytes(encoding, size)
    return plain + plain // 128 + 1024 if "+" in encoding else plain


def smallest_payload_bytes(encoding: str, size: int) -> int:
    """Bytes that P = `size` values take at least."""
    return 1 if "+" in encoding else largest_payload_bytes(encoding, size)

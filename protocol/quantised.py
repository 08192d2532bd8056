"""int8 vectors: a quarter of float32's bytes, before any compression.

Blocks of 1024 values, the last one may be shorter; each block is its scale (float32,
little-endian) and then one signed byte a value:

    scale = max |x| / 127          byte = x / scale, rounded to nearest, ties to even

all in float32, so that every host writes the same bytes. A value comes back as byte * scale, at
most half a scale away. A block whose scale would be below float32's smallest normal number
(2^-126) is written as zeros: there the division would no longer be exact enough.
"""

from __future__ import annotations

import numpy as np

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector

BLOCK_VALUES = 1024
LARGEST_BYTE = 127

_BLOCK = np.dtype([("scale", "<f4"), ("values", "i1", (BLOCK_VALUES,))])
_SCALE_BYTES = 4
_SMALLEST_NORMAL = np.finfo(np.float32).tiny


def quantised_bytes(size: int) -> int:
    """Bytes that `size` values take."""
    return size + _SCALE_BYTES * _blocks(size)


def quantise(flat: FlatVector) -> bytes:
    """The blocks of `flat` float32 [P].

    Raises:
        FedvoiceError: `not-finite` for NaN or infinity.
    """
    padded = np.zeros((_blocks(flat.size), BLOCK_VALUES), dtype=np.float32)
    padded.reshape(-1)[: flat.size] = flat
    scale = np.abs(padded).max(axis=1, initial=0) / np.float32(LARGEST_BYTE)
    if not np.isfinite(scale).all():
        raise FedvoiceError(
            ErrorCode.NOT_FINITE,
            where="encode",
            got="NaN or infinity",
            wanted="finite values: int8 has a scale and no room for others",
            next_step="Lower the rate, keep clipping on.",
        )
    scale[scale < _SMALLEST_NORMAL] = 0
    padded /= np.where(scale > 0, scale, np.inf)[:, None]
    blocks = np.empty(len(padded), dtype=_BLOCK)
    blocks["scale"] = scale
    blocks["values"] = np.rint(padded, out=padded)
    # The last block's padding is at the very end.
    return blocks.tobytes()[: quantised_bytes(flat.size)]


def dequantise(data: bytes | memoryview, size: int) -> FlatVector:
    """`size` values as float32 [size] from `quantised_bytes(size)` bytes.

    A scale that is NaN or infinite gives values that are.
    """
    blocks = np.zeros(_blocks(size), dtype=_BLOCK)
    blocks.view(np.uint8)[: len(data)] = np.frombuffer(data, dtype=np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):
        values: FlatVector = blocks["values"] * blocks["scale"][:, None]
    return values.reshape(-1)[:size]


def _blocks(size: int) -> int:
    return -(-size // BLOCK_VALUES)

"""Arithmetic on flat vectors, in blocks that stay in the processor's cache.

Blocks make it fast, need no second vector of the model's size, and give the same bits whatever
the number of threads of the linear-algebra library.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fedvoice.protocol.parameters import FlatVector

BLOCK_FLOATS = 8192  # 32 KiB; also below the size from which OpenBLAS splits a dot over threads


def blocks(size: int) -> Iterator[slice]:
    """Slices that cover 0..size-1 in order."""
    for start in range(0, size, BLOCK_FLOATS):
        yield slice(start, min(start + BLOCK_FLOATS, size))


def norm(vector: FlatVector) -> float:
    """Euclidean norm of `vector` [P]; NaN or infinity if a value is."""
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for part in blocks(vector.size):
            values = vector[part]
            square = float(np.dot(values, values))
            if not math.isfinite(square):
                wide = values.astype(np.float64)  # a finite value beyond 1e19 squares to infinity
                square = float(np.dot(wide, wide))
            total += square
    return math.sqrt(total)


def clip_factor(vector_norm: float, bound: float) -> float:
    """min(1, bound / norm): what brings a vector of this norm within `bound`; 0: no bound."""
    return bound / vector_norm if bound > 0 and vector_norm > bound else 1.0


def add_scaled(target: FlatVector, source: FlatVector, factor: float) -> None:
    """target += factor * source, in place; both [P]."""
    scale = np.float32(factor)
    scratch = np.empty(min(BLOCK_FLOATS, target.size), dtype=np.float32)
    for part in blocks(target.size):
        scaled = scratch[: part.stop - part.start]
        np.multiply(source[part], scale, out=scaled)
        target[part] += scaled


def add_difference(target: FlatVector, a: FlatVector, b: FlatVector, factor: float) -> None:
    """target += factor * (a - b), in place; all [P]."""
    scale = np.float32(factor)
    scratch = np.empty(min(BLOCK_FLOATS, target.size), dtype=np.float32)
    for part in blocks(target.size):
        difference = scratch[: part.stop - part.start]
        np.subtract(a[part], b[part], out=difference)
        difference *= scale
        target[part] += difference


def scale_and_add(target: FlatVector, keep: float, source: FlatVector, factor: float) -> None:
    """target = keep * target + factor * source, in place; both [P]."""
    keep32 = np.float32(keep)
    scale = np.float32(factor)
    scratch = np.empty(min(BLOCK_FLOATS, target.size), dtype=np.float32)
    for part in blocks(target.size):
        scaled = scratch[: part.stop - part.start]
        np.multiply(source[part], scale, out=scaled)
        target[part] *= keep32
        target[part] += scaled

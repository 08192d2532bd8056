"""Exact streaming weighted mean of updates (laws 1-3).

Every element of a delta is rounded to a grid, q = rint(delta * 2^g), an integer, and n_k q is
added up in int64. Integer addition is associative and commutative, so the sum depends on the set
of updates alone: not on their order, on threads, on the tree in which partial sums are merged, or
on a restart. The mean is sum(n_k q) / (2^g sum(n_k)) in float64, then float32; the sums run over
the round's accepted clients (McMahan et al. 2016, algorithm 1).

No sum can overflow: |delta| <= max_update_abs and n_k <= max_client_examples are checked, and
`AlgorithmConfig` refuses settings where max_update_abs * max_client_examples * clients * 2^g is
above 2^62. delta * 2^g and rint of it are exact in float32: a power of two scales a 24-bit
significand. The rounding to the grid changes an update's element, and the mean's, by at most
2^-(g+1) before the conversion to float32.

Folding needs memory for one chunk; the accumulator holds 8 bytes a parameter, however many
updates there are.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector, Float32Array

CHUNK_ELEMENTS = 64 * 1024


@dataclass(frozen=True)
class UpdateFacts:
    """Facts from one pass over an update. With NaN or infinity inside, `max_abs` is not finite."""

    max_abs: float
    norm: float

    @property
    def finite(self) -> bool:
        """Whether every element is a number."""
        return math.isfinite(self.max_abs)


def inspect(chunks: Iterable[Float32Array]) -> UpdateFacts:
    """Largest absolute value and L2 norm of an update given in pieces, float32 [n] each."""
    max_abs, square = 0.0, 0.0
    for chunk in chunks:
        if chunk.size == 0:
            continue
        # min and max hand NaN on, so two reductions see everything that is not finite.
        piece = np.maximum(np.max(chunk), -np.min(chunk))
        if not np.isfinite(piece):
            return UpdateFacts(max_abs=math.nan, norm=math.nan)
        max_abs = max(max_abs, float(piece))
        wide = chunk.astype(np.float64)
        square += float(np.einsum("i,i->", wide, wide))
    return UpdateFacts(max_abs=max_abs, norm=math.sqrt(square))


class Accumulator:
    """The running sum of one round. Threads may fold at the same time."""

    def __init__(self, size: int, *, grid_bits: int) -> None:
        self.grid_bits = grid_bits
        self.total_weight = 0
        self.count = 0
        self._sum: npt.NDArray[np.int64] = np.zeros(size, dtype=np.int64)
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """P."""
        return self._sum.size

    def fold(self, chunks: Iterable[Float32Array], weight: int) -> None:
        """Add one update, given as consecutive pieces of float32 [P], with weight n_k.

        The caller has checked the update (`inspect`) and the weight.

        Raises:
            FedvoiceError: `wrong-shape` if the pieces are not P elements; the accumulator must
                not be used further then.
        """
        scale = np.float32(2.0**self.grid_bits)
        scaled = np.empty(CHUNK_ELEMENTS, dtype=np.float32)
        grid = np.empty(CHUNK_ELEMENTS, dtype=np.int64)
        start = 0
        with self._lock:
            for piece in chunks:
                for first in range(0, piece.size, CHUNK_ELEMENTS):
                    part = piece[first : first + CHUNK_ELEMENTS]
                    end = start + part.size
                    if end > self.size:
                        raise self._wrong_size(end)
                    np.multiply(part, scale, out=scaled[: part.size])
                    np.rint(scaled[: part.size], out=scaled[: part.size])
                    np.copyto(grid[: part.size], scaled[: part.size], casting="unsafe")
                    grid[: part.size] *= weight
                    self._sum[start:end] += grid[: part.size]
                    start = end
            if start != self.size:
                raise self._wrong_size(start)
            self.total_weight += weight
            self.count += 1

    def merge(self, other: Accumulator) -> None:
        """Add another accumulator's updates, as an inner node of an aggregation tree does."""
        if other.size != self.size or other.grid_bits != self.grid_bits:
            raise self._wrong_size(other.size)
        with self._lock:
            self._sum += other._sum
            self.total_weight += other.total_weight
            self.count += other.count

    def mean(self) -> FlatVector:
        """The weighted mean, float32 [P]; zeros if nothing was folded."""
        result = np.zeros(self.size, dtype=np.float32)
        if self.total_weight == 0:
            return result
        divisor = float(self.total_weight) * 2.0**self.grid_bits
        for start in range(0, self.size, CHUNK_ELEMENTS):
            part = slice(start, start + CHUNK_ELEMENTS)
            result[part] = self._sum[part].astype(np.float64) / divisor
        return result

    def __getstate__(self) -> dict[str, Any]:
        # Partial sums travel between processes; locks cannot.
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _wrong_size(self, got: int) -> FedvoiceError:
        return FedvoiceError(
            ErrorCode.WRONG_SHAPE,
            where="aggregation",
            got=f"an update of {got} elements or more",
            wanted=f"{self.size} elements on a grid of 2^-{self.grid_bits}",
            next_step="Check updates before they are folded; start a new accumulator.",
        )

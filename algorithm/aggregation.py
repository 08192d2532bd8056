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

Where max_update_abs * 2^g < 2^51, the rounding costs nothing: M = 1.5 * 2^(52-g) is added to each
element in float64, where the sum's last bit is worth 2^-g, so that the addition itself rounds to
the grid, to even at ties as rint does, and the sum's bits, read as an integer, are bits(M) + q.
Times n_k, modulo 2^64, they are added up; sum(n_k) * bits(M) is taken off when the sum is read.
Both ways give the same integers.

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

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

CHUNK_ELEMENTS = 64 * 1024
_MAGIC_BITS = 51
_FLOAT32_SUM_ERROR = 1e-4
"""Far more than a float32 dot product of a piece is wrong by (about 1e-6)."""


@dataclass(frozen=True)
class UpdateFacts:
    """Facts from one pass over an update. With NaN or infinity inside, `max_abs` is not finite."""

    max_abs: float
    """Of one element; of an update that was looked at with a bound, 0 if none is above it."""
    norm: float

    @property
    def finite(self) -> bool:
        """Whether every element is a number."""
        return math.isfinite(self.max_abs)


class Inspection:
    """Facts of an update that comes in pieces.

    Args:
        bound: look for elements above it alone. Pieces whose norm is below it have none, which
            saves nine tenths of the time; the norm is then good to six digits. 0: `max_abs` is
            exact, and the norm good to float64's digits.
    """

    def __init__(self, bound: float = 0.0) -> None:
        self._sure = (bound * (1 - _FLOAT32_SUM_ERROR)) ** 2
        self._bound = bound
        self._max_abs, self._square = 0.0, 0.0

    def take(self, piece: Float32Array) -> None:
        """One pass over a piece, float32 [n]."""
        for first in range(0, piece.size, CHUNK_ELEMENTS):
            if math.isfinite(self._max_abs):
                self._take(piece[first : first + CHUNK_ELEMENTS])

    def _take(self, piece: Float32Array) -> None:
        if self._sure:
            with np.errstate(over="ignore", invalid="ignore"):
                square = float(np.dot(piece, piece))  # NaN and infinity come through
            if square < self._sure:
                self._square += square
                return
        # min and max hand NaN on, so two reductions see everything that is not finite.
        largest = float(np.maximum(np.max(piece), -np.min(piece)))
        if not math.isfinite(largest):
            self._max_abs = math.nan
            return
        if largest > self._bound:
            self._max_abs = max(self._max_abs, largest)
        wide = piece.astype(np.float64)
        self._square += float(np.einsum("i,i->", wide, wide))

    @property
    def facts(self) -> UpdateFacts:
        """Of the pieces so far."""
        if not math.isfinite(self._max_abs):
            return UpdateFacts(max_abs=math.nan, norm=math.nan)
        return UpdateFacts(self._max_abs, math.sqrt(self._square))


def inspect(chunks: Iterable[Float32Array], bound: float = 0.0) -> UpdateFacts:
    """`Inspection` of an update given in pieces, float32 [n] each."""
    found = Inspection(bound)
    for chunk in chunks:
        found.take(chunk)
    return found.facts


_local = threading.local()


def _scratch() -> Float64Array:
    """This thread's, float64 [CHUNK_ELEMENTS]: a new one each time would be faulted in anew."""
    if not hasattr(_local, "scratch"):
        _local.scratch = np.empty(CHUNK_ELEMENTS, dtype=np.float64)
    scratch: Float64Array = _local.scratch
    return scratch


class Accumulator:
    """The running sum of one round. Threads may fold at the same time.

    Args:
        max_abs: no element of an update is larger; 0: not known.
    """

    def __init__(self, size: int, *, grid_bits: int, max_abs: float = 0.0) -> None:
        self.grid_bits = grid_bits
        self._magic = 0.0
        if max_abs > 0 and math.log2(max_abs) + grid_bits < _MAGIC_BITS:
            self._magic = 1.5 * 2.0 ** (52 - grid_bits)
        self.total_weight = 0
        self.count = 0
        self._sum: npt.NDArray[np.int64] = np.zeros(size, dtype=np.int64)
        self._lock = threading.Lock()

    def empty(self) -> Accumulator:
        """Another one, for updates of the same kind."""
        other = Accumulator(self.size, grid_bits=self.grid_bits)
        other._magic = self._magic
        return other

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
        start = 0
        for piece in chunks:
            start = self.add(piece, weight, start)
        if start != self.size:
            raise self._wrong_size(start)
        with self._lock:
            self.total_weight += weight
            self.count += 1

    def add(self, piece: Float32Array, weight: int, start: int) -> int:
        """Add a piece of an update, float32 [n], that begins at element `start`; where it ends.

        What is added counts when `fold` has come to the update's end.

        Raises:
            FedvoiceError: `wrong-shape`, as `fold`.
        """
        weighed = self._magic_grid if self._magic else self._plain_grid
        wide = _scratch()
        for first in range(0, piece.size, CHUNK_ELEMENTS):
            part = piece[first : first + CHUNK_ELEMENTS]
            end = start + part.size
            if end > self.size:
                raise self._wrong_size(end)
            grid = weighed(part, wide[: part.size])
            grid *= weight
            target = self._sum[start:end]
            with self._lock:  # for the shortest part of the work
                np.add(target, grid, out=target)
            start = end
        return start

    def _magic_grid(self, part: Float32Array, wide: Float64Array) -> Int64Array:
        """The elements on the grid, each with the bits of the magic constant added."""
        np.copyto(wide, part)
        np.add(wide, self._magic, out=wide)
        return wide.view(np.int64)

    def _plain_grid(self, part: Float32Array, wide: Float64Array) -> Int64Array:
        grid = wide.view(np.int64)
        np.copyto(grid, np.rint(part * np.float32(2.0**self.grid_bits)), casting="unsafe")
        return grid

    def _totals(self, part: slice) -> Int64Array:
        """sum(n_k q) of some elements."""
        bits = int(np.float64(self._magic).view(np.int64)) * self.total_weight % 2**64
        return (self._sum[part].view(np.uint64) - np.uint64(bits)).view(np.int64)

    def merge(self, other: Accumulator) -> None:
        """Add another accumulator's updates, as an inner node of an aggregation tree does."""
        same = (other.size, other.grid_bits) == (self.size, self.grid_bits)
        if not same or other._magic != self._magic:
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
            result[part] = self._totals(part) / divisor
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

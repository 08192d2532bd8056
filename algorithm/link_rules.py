"""The links that are built in: weighting, clipping, rounding, and two rules that need single
updates."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fedvoice.algorithm.links import Contract, Memory, Seen, Sees, Verdict
from fedvoice.protocol.codec import ENCODINGS, decode, encode
from fedvoice.protocol.parameters import Float32Array


class Weight:
    """Sets an update's weight.

    Args:
        by: `examples`: n_k, as without any link; `uniform`: the same for every client.
    """

    def __init__(self, by: str = "examples") -> None:
        if by not in ("examples", "uniform"):
            raise ValueError("by: examples or uniform")
        self._uniform = by == "uniform"
        self.contract = Contract(sees=frozenset({Sees.EXAMPLES}))

    def __call__(self, seen: Seen) -> Verdict:
        """See `UpdateLink`."""
        return Verdict(1 if self._uniform else seen.examples)


class Clip:
    """Scale an update of a larger L2 norm down to `norm`: bounds one client's influence.

    (Geyer, Klein, Nabi 2017; McMahan et al. 2018, "Learning Differentially Private Recurrent
    Language Models", algorithm 1: flat clipping.) The norm is a float64 sum by piece, so it is the
    same wherever it is taken.
    """

    def __init__(self, norm: float) -> None:
        if not (math.isfinite(norm) and norm > 0):
            raise ValueError("norm: a number above 0")
        self._bound = norm
        self.contract = Contract(sees=frozenset({Sees.NORM}))

    def __call__(self, seen: Seen) -> Verdict:
        """See `UpdateLink`."""
        norm: float = seen.norm
        return Verdict(seen.weight, 1.0 if norm <= self._bound else self._bound / norm)


class Encode:
    """Round an update as an encoding would, without its bytes on the wire: what compression costs
    in quality, for clients that send float32. Scales of int8 are those of blocks of 1024.

    Args:
        encoding: one of `protocol.codec.ENCODINGS`.
    """

    contract = Contract(transforms=True)

    def __init__(self, encoding: str = "int8") -> None:
        if encoding not in ENCODINGS:
            raise ValueError(f"encoding: one of {', '.join(ENCODINGS)}")
        self._encoding = encoding

    def __call__(self, seen: Seen) -> Verdict:
        """See `UpdateLink`."""
        return Verdict(seen.weight)

    def transform(self, piece: Float32Array, start: int, seen: Seen) -> Float32Array:
        """See `ElementwiseLink`. Pieces hold whole blocks, all but the last one."""
        return decode(encode(piece, self._encoding), self._encoding, piece.size, "an update")


_BY_TILE = Contract(memory=Memory.TILE, needs_updates=True)


class Median:
    """The coordinate-wise median, every client alike (Yin et al. 2018, "Byzantine-Robust
    Distributed Learning", option I)."""

    contract = _BY_TILE

    def combine(self, tile: Float32Array, weights: npt.NDArray[np.int64]) -> Float32Array:
        """See `CohortRule`."""
        middle: Float32Array = np.median(tile.astype(np.float64), axis=0).astype(np.float32)
        return middle


class TrimmedMean:
    """The coordinate-wise mean without the `trim` part of the smallest and of the largest values,
    every client alike (Yin et al. 2018, option II). Exact: values are summed in order of size.

    Args:
        trim: 0 to below 0.5, of each end; rounded down to whole clients.
    """

    def __init__(self, trim: float = 0.1) -> None:
        if not 0 <= trim < 0.5:
            raise ValueError("trim: 0 to below 0.5")
        self._trim = trim
        self.contract = _BY_TILE

    def combine(self, tile: Float32Array, weights: npt.NDArray[np.int64]) -> Float32Array:
        """See `CohortRule`."""
        ordered = np.sort(tile, axis=0).astype(np.float64)
        cut = int(self._trim * len(ordered))
        kept = ordered[cut : len(ordered) - cut]
        mean: Float32Array = (np.add.reduce(kept, axis=0) / len(kept)).astype(np.float32)
        return mean

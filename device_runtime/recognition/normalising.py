"""Normalisation of features while they come.

In training an utterance is normalised by its own mean and deviation (`normalise_features`), which
are not known before its end. Here they are those of the speech so far, of this utterance and the
ones before it, the newest `memory_secs`; the first frames wait until `warmup_secs` of them are
there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fedvoice.protocol.engine import SMALLEST_DEVIATION
from fedvoice.protocol.parameters import Float32Array


class Statistics(NamedTuple):
    """Sums over feature frames. frames: how many; sums float64 [mel_bins]; squares: of all bins."""

    frames: float
    sums: np.ndarray[tuple[int], np.dtype[np.float64]]
    squares: float


def no_statistics(mel_bins: int) -> Statistics:
    """Before any speech."""
    return Statistics(0.0, np.zeros(mel_bins), 0.0)


def heard(statistics: Statistics, features: Float32Array, memory_frames: float) -> Statistics:
    """With features [frames, mel_bins] added. Of more than `memory_frames`, all count less, so
    that the sums are of about as many: what was long ago is forgotten."""
    exact = features.astype(np.float64)
    frames = statistics.frames + len(features)
    keep = min(1.0, memory_frames / max(frames, 1.0))
    return Statistics(
        keep * frames,
        keep * (statistics.sums + exact.sum(0)),
        keep * (statistics.squares + float((exact * exact).sum())),
    )


def normalised(statistics: Statistics, features: Float32Array) -> Float32Array:
    """Features [frames, mel_bins] less the mean of each bin, over one deviation of all bins: with
    an utterance's own statistics what `normalise_features` makes of it."""
    means = statistics.sums / statistics.frames
    variance = statistics.squares / statistics.frames / len(means) - float((means * means).mean())
    deviation = max(float(np.sqrt(max(variance, 0.0))), SMALLEST_DEVIATION)
    found: Float32Array = ((features - means) / deviation).astype(np.float32)
    return found

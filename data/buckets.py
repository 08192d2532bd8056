"""Length buckets fitted to a corpus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedvoice.protocol.engine import Int64Array
from fedvoice.protocol.task import FeatureSettings
from fedvoice.protocol.utterances import Utterance
from fedvoice.protocol.vocabulary import Vocabulary

_ROUND_TO_FRAMES = 5


def fit_buckets(
    utterances: Sequence[Utterance],
    features: FeatureSettings,
    vocabulary: Vocabulary,
    *,
    count: int = 2,
    batch: int = 8,
) -> list[dict[str, int]]:
    """At most `count` buckets that hold every utterance of at most `features.max_secs`, in
    ascending order. Phones leave longer ones out.

    They end at equal quantiles of the utterances' encoder frames, rounded up to a multiple of 5.
    Each has room for the longest transcript of the utterances that fit it by length.

    Returns:
        Tables `frames`, `labels`, `batch`, as `model_export.config.BucketConfig` takes them.
    """
    utterances = [u for u in utterances if u.duration_secs <= features.max_secs] or utterances
    frames = np.array(
        [
            features.stacked_frames(features.frames(round(u.duration_secs * features.sample_rate)))
            for u in utterances
        ]
    )
    labels = np.array([len(vocabulary.encode(u.text)) for u in utterances])
    return buckets_around(frames, labels, count=count, batch=batch)


def buckets_around(
    frames: Int64Array, labels: Int64Array, *, count: int = 2, batch: int = 8
) -> list[dict[str, int]]:
    """As `fit_buckets`, around examples of `frames` int64 [n] encoder frames and `labels` int64
    [n] targets."""
    ends = {
        max(_ROUND_TO_FRAMES, -(-int(end) // _ROUND_TO_FRAMES) * _ROUND_TO_FRAMES)
        for end in np.quantile(frames, np.arange(1, count + 1) / count)
    }
    return [
        {"frames": end, "labels": int(labels[frames <= end].max()), "batch": batch}
        for end in sorted(ends)
    ]

"""Length buckets fitted to a corpus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedvoice.protocol.engine import Int64Array
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import FeatureSettings
from fedvoice.protocol.utterances import Utterance
from fedvoice.protocol.vocabulary import Vocabulary

_ROUND_TO_FRAMES = 5
UNUSABLE_TEXT = {
    ErrorCode.EMPTY_TRANSCRIPT,
    ErrorCode.UNKNOWN_TOKEN,
    ErrorCode.UNSUPPORTED_TEXT,
}


def fit_buckets(
    utterances: Sequence[Utterance],
    features: FeatureSettings,
    vocabulary: Vocabulary,
    *,
    count: int = 2,
    batch: int = 8,
) -> list[dict[str, int]]:
    """At most `count` buckets that hold every utterance whose text is usable and that lasts no
    longer than `features.max_secs`, in ascending order. Phones leave others out.

    They end at equal quantiles of the utterances' encoder frames, rounded up to a multiple of 5; of
    waveforms to a twentieth of a second, and a hundredth beyond what durations say, which are
    rounded themselves.
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
    labels = target_counts(vocabulary, [u.text for u in utterances])
    usable = labels >= 0
    frames, multiple = frames[usable], frame_multiple(features)
    if features.is_waveform:
        frames += features.sample_rate // 100
    return buckets_around(frames, labels[usable], count=count, batch=batch, multiple=multiple)


def frame_multiple(features: FeatureSettings) -> int:
    """What the frames of a fitted bucket are a multiple of."""
    return max(1, features.sample_rate // 20) if features.is_waveform else _ROUND_TO_FRAMES


def target_counts(vocabulary: Vocabulary, targets: Sequence[str | Sequence[int]]) -> Int64Array:
    """Number of targets of each text, or of each list of token ids; -1 for texts that the task
    cannot use.

    Raises:
        FedvoiceError: if no text can be used, why the first cannot.
    """
    counts = np.full(len(targets), -1, dtype=np.int64)
    first: FedvoiceError | None = None
    for place, target in enumerate(targets):
        try:
            counts[place] = len(vocabulary.encode(target) if isinstance(target, str) else target)
        except FedvoiceError as error:
            if error.code not in UNUSABLE_TEXT:
                raise
            first = first or error
    if first is not None and not (counts >= 0).any():
        raise first
    return counts


def buckets_around(
    frames: Int64Array,
    labels: Int64Array,
    *,
    count: int = 2,
    batch: int = 8,
    multiple: int = _ROUND_TO_FRAMES,
) -> list[dict[str, int]]:
    """As `fit_buckets`, around examples of `frames` int64 [n] encoder frames and `labels` int64
    [n] targets."""
    ends = {
        max(multiple, -(-int(end) // multiple) * multiple)
        for end in np.quantile(frames, np.arange(1, count + 1) / count)
    }
    return [
        {"frames": end, "labels": int(labels[frames <= end].max()), "batch": batch}
        for end in sorted(ends)
    ]

"""Whether a task can use an utterance, decided without its sound."""

from __future__ import annotations

from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.task import FeatureSettings, TaskManifest
from fedvoice.protocol.usage import Reason

_REASONS = {reason.value for reason in Reason}


def why_unusable(rate: int, samples: int, text: str, task: TaskManifest) -> Reason | None:
    """Why a task cannot use an utterance; None: it can.

    Args:
        rate: samples a second of the recording.
        samples: of the recording or segment, per channel.
        text: the transcript.
    """
    reason = unusable_sound(rate, samples, task.features)
    if reason is not None:
        return reason
    try:
        labels = len(task.vocabulary.encode(text))
    except FedvoiceError as error:
        if error.code.value not in _REASONS:
            raise
        return Reason(error.code.value)
    return unusable_size(samples, labels, task)


def unusable_sound(rate: int, samples: int, features: FeatureSettings) -> Reason | None:
    """Why a task's front end cannot use a recording; None: it can."""
    if rate != features.sample_rate:
        return Reason.WRONG_SAMPLE_RATE
    if features.frames(samples) == 0:
        return Reason.TOO_SHORT
    return Reason.TOO_LONG if samples > features.max_secs * features.sample_rate else None


def unusable_size(samples: int, labels: int, task: TaskManifest) -> Reason | None:
    """Why no bucket of a task holds a recording with `labels` targets; None: one does."""
    stacked = task.features.stacked_frames(task.features.frames(samples))
    if task.bucket_for(stacked, labels) is not None:
        return None
    longest = max((bucket.frames for bucket in task.buckets), default=0)
    return Reason.TOO_LONG if stacked > longest else Reason.TOO_MANY_TOKENS

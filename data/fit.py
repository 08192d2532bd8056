"""Whether a task can use an utterance, and why not: the one rule of phones, simulations, checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedvoice.data.references import ArrayReference, Reference
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import TaskManifest
from fedvoice.protocol.usage import Reason, Usage
from fedvoice.protocol.utterances import iterate_manifest

REASONS = frozenset(str(reason) for reason in Reason)


def targets_or_reason(
    samples: int, sample_rate: int, transcript: str, task: TaskManifest, *, testing: bool = False
) -> tuple[str, list[int]] | Reason:
    """The normalised text and the token ids of an utterance of so many samples (per channel), or
    why the task cannot use it. Nothing is decoded: what only listening finds is
    `data.audio.check_waveform`'s.

    Args:
        testing: words that the task lacks are no hindrance: they are references, never targets.
    """
    settings = task.features
    if sample_rate != settings.sample_rate:
        return Reason.WRONG_SAMPLE_RATE
    try:
        text, targets = task.vocabulary.reference_and_targets(transcript, testing=testing)
    except FedvoiceError as error:
        if error.code.value not in REASONS:
            raise
        return Reason(error.code.value)
    frames = settings.frames(samples)
    if frames < 1:
        return Reason.TOO_SHORT
    if samples > settings.max_secs * settings.sample_rate:
        return Reason.TOO_LONG
    reason = bucket_reason(settings.stacked_frames(frames), len(targets), task)
    return reason or (text, targets)


def bucket_reason(frames: int, labels: int, task: TaskManifest) -> Reason | None:
    """Why no bucket holds an example of `frames` encoder frames and `labels` targets; None: one
    does."""
    if task.bucket_for(frames, labels) is not None:
        return None
    longest = max(bucket.frames for bucket in task.buckets)
    return Reason.TOO_LONG if frames > longest else Reason.TOO_MANY_TOKENS


def usage_of_texts(manifest: Path, task: TaskManifest) -> Usage:
    """What a task could use of a manifest, by its texts and durations: the sound need not be
    there, and is taken to have the task's rate.

    Raises:
        FedvoiceError: as `protocol.utterances.read_manifest`.
    """
    usage, rate = Usage(), task.features.sample_rate
    for utterance in iterate_manifest(manifest, check_audio=False):
        samples, testing = round(utterance.duration_secs * rate), utterance.split == "test"
        found = targets_or_reason(samples, rate, utterance.text, task, testing=testing)
        if isinstance(found, Reason):
            usage.leave_out(found, utterance.where)
        else:
            usage.used += 1
    return usage


def text_and_targets(
    reference: Reference, manifest: TaskManifest, *, testing: bool = False
) -> tuple[str, Sequence[int]]:
    """The normalised text of an example, "" if it has ids, and its target token ids.

    Args:
        testing: words that the task lacks are no hindrance: they are references, never targets.

    Raises:
        FedvoiceError: `unknown-token`, also for ids outside the vocabulary; `empty-transcript`;
            `unsupported-text`.
    """
    ids = reference.targets if isinstance(reference, ArrayReference) else None
    if ids is None:
        return manifest.vocabulary.reference_and_targets(reference.text, testing=testing)
    if not all(1 <= token < manifest.vocabulary.size for token in ids):
        raise FedvoiceError(
            ErrorCode.UNKNOWN_TOKEN,
            where="an example of the corpus",
            got=f"token ids {min(ids)}..{max(ids)}",
            wanted=f"1..{manifest.vocabulary.size - 1}",
            next_step="Give the task a vocabulary of all ids; 0 is the blank.",
        )
    return "", ids

"""Utterances of a manifest as a released model hears them, and what two models make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fedvoice.data.audio import read_waveform
from fedvoice.data.fit import REASONS, bucket_reason
from fedvoice.data.speech import SpeechCorpus
from fedvoice.model_export.log_mel import reference_features
from fedvoice.protocol.engine import inputs_of
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.scoring import count_word_errors
from fedvoice.protocol.task import TaskManifest, check_takes_audio
from fedvoice.protocol.usage import Reason, Usage
from fedvoice.protocol.utterances import Utterance

Transcribe = Callable[[Tensor, Tensor], list[list[int]]]
"""features float32 [B, T, I], lengths int64 [B] -> token ids, a list a row."""


@dataclass(frozen=True)
class Heard:
    """waveform float32 [samples] in +-1; features float32 [1, T, I] and lengths [1] made of it;
    text: normalised."""

    waveform: Float32Array
    features: Tensor
    lengths: Tensor
    text: str


def read_speech(
    manifest: Path, task: TaskManifest, *, split: str = "", most: int = 200
) -> tuple[list[Heard], Usage]:
    """The first `most` usable utterances of a manifest, and what was left out on the way.

    Raises:
        FedvoiceError: `bad-package` for a task without recordings, and what reading a manifest
            gives.
    """
    check_takes_audio(task)
    heard: list[Heard] = []
    usage = Usage()
    for utterance in SpeechCorpus(manifest=manifest).utterances():
        if len(heard) == most:
            break
        if split and utterance.split != split:
            continue
        found: Heard | Reason
        try:
            found = _heard(utterance, task)
        except FedvoiceError as error:
            if error.code.value not in REASONS:
                raise
            found = Reason(error.code.value)
        if isinstance(found, Reason):
            usage.leave_out(found, str(utterance.audio_path))
        else:
            heard.append(found)
            usage.used += 1
    return heard, usage


def word_error_rate(
    heard: Sequence[Heard], tokens: Sequence[Sequence[int]], task: TaskManifest
) -> float:
    """Errors per word said, in percent."""
    texts = [task.vocabulary.decode(list(ids)) for ids in tokens]
    return 100.0 * count_word_errors([one.text for one in heard], texts).wer


def random_speech(task: TaskManifest, size: int, rows: int = 8) -> list[Heard]:
    """Noise of several lengths, where there is no speech to try; without waveform and text."""
    generator = torch.Generator().manual_seed(0)
    longest = task.buckets[-1].frames
    found = []
    for row in range(rows):
        frames = max(1, longest * (row + 1) // rows)
        features = torch.randn(1, frames, size, generator=generator)
        found.append(Heard(torch.zeros(0).numpy(), features, torch.tensor([frames]), ""))
    return found


def _heard(utterance: Utterance, task: TaskManifest) -> Heard | Reason:
    settings = task.features
    text = task.vocabulary.normalise(utterance.text)
    waveform = read_waveform(
        utterance.audio_path,
        settings,
        str(utterance.audio_path),
        offset_secs=utterance.offset_secs or 0.0,
        duration_secs=utterance.segment_secs,
        resample=True,
    )
    if waveform.size > settings.max_secs * settings.sample_rate:
        return Reason.TOO_LONG
    frames = settings.stacked_frames(settings.frames(waveform.size))
    if reason := bucket_reason(frames, 0, task):
        return reason
    rows = torch.from_numpy(
        inputs_of(
            waveform,
            settings,
            lambda own: reference_features(torch.from_numpy(own)[None], settings)[0].numpy(),
        )
    )
    padded = torch.nn.functional.pad(rows, (0, 0, 0, frames * settings.stack - len(rows)))
    return Heard(waveform, padded.reshape(1, frames, -1), torch.tensor([frames]), text)

"""The front end of a task: what of a recording its model is given."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.plan import TrainingPlan

LOG_MEL_SIZES = ("fft_size", "window_samples", "hop_samples", "mel_bins", "stack")
"""Sizes of the log-mel front end."""


class FeatureKind(StrEnum):
    """What a model is given of a recording."""

    LOG_MEL = "log-mel"
    """Frames of log-mel, computed by the program's `features` method and normalised."""
    WAVEFORM = "waveform"
    """Its samples: a frame is one sample, and a program has no `features`."""


class Normalise(StrEnum):
    """How the samples of an utterance are normalised."""

    NONE = "none"
    """Not: float32 in +-1."""
    UTTERANCE = "utterance"
    """Zero mean and unit variance, as wav2vec 2.0 (Baevski et al. 2020) is given them:
    (x - mean) / sqrt(variance + 1e-7)."""


class FeatureSettings(BaseModel):
    """The front end: what of a recording a model is given.

    Of kind waveform a frame is one sample. So the sizes of the log-mel front end are 1, whether
    said or not, and the frames of buckets, batches and limits are samples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FeatureKind = FeatureKind.LOG_MEL
    """This and the next are written only for waveforms, so that older phones refuse no other
    package."""
    normalise: Normalise = Normalise.NONE
    """Of waveforms; log-mel is always normalised (`protocol.engine.normalise_features`)."""
    sample_rate: int = 16000
    fft_size: int = 512
    window_samples: int = 400
    hop_samples: int = 160
    mel_bins: int = 40
    stack: int = Field(default=8, ge=1)
    """Feature frames that make one encoder frame."""
    log_floor: float = 1e-6
    max_secs: float = 30.0

    @model_validator(mode="before")
    @classmethod
    def _a_sample_a_frame(cls, fields: Any) -> Any:
        if not isinstance(fields, Mapping) or fields.get("kind") != FeatureKind.WAVEFORM:
            return fields
        for name in LOG_MEL_SIZES:
            if fields.get(name, 1) != 1:
                raise ValueError(
                    f"{name} = {fields[name]} with kind = 'waveform', of which a frame is one "
                    f"sample: leave out {', '.join(LOG_MEL_SIZES)}"
                )
        return {**fields, **dict.fromkeys(LOG_MEL_SIZES, 1)}

    @model_validator(mode="after")
    def _log_mel_has_its_own(self) -> Self:
        if self.kind is FeatureKind.LOG_MEL and self.normalise is not Normalise.NONE:
            raise ValueError("normalise is of kind = 'waveform'; log-mel is always normalised")
        return self

    @model_serializer(mode="wrap")
    def _without_the_usual_kind(self, write: SerializerFunctionWrapHandler) -> Any:
        fields = write(self)
        if self.kind is FeatureKind.LOG_MEL:
            for name in ("kind", "normalise"):
                fields.pop(name, None)
        return fields

    @property
    def is_waveform(self) -> bool:
        """Whether a model is given samples, not log-mel."""
        return self.kind is FeatureKind.WAVEFORM

    def frames(self, samples: int) -> int:
        """Feature frames of `samples` samples (uncentred framing), of a waveform all of them; at
        least 0."""
        return max(0, (samples - self.fft_size) // self.hop_samples + 1)

    def stacked_frames(self, frames: int) -> int:
        """Encoder frames of `frames` feature frames, the last one padded."""
        return -(-frames // self.stack)


def check_masks(features: FeatureSettings, plan: TrainingPlan) -> None:
    """Raise `bad-config` for a plan that masks frames and bins of a task of waveforms."""
    masks = plan.spec_augment
    if features.is_waveform and masks.time_masks + masks.frequency_masks:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="the plan, spec_augment",
            got=f"{masks.time_masks} time and {masks.frequency_masks} frequency masks for a model "
            "of waveforms",
            wanted="no masks: SpecAugment masks log-mel (Park et al. 2019)",
            next_step="Leave out plan.spec_augment; a model may mask what it makes of the waveform "
            "by torch.rand, which the host draws.",
        )

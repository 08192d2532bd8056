"""The settings of `fedvoice export`: model, targets, features, buckets, default plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fedvoice.data.speech import SpeechCorpus
from fedvoice.model_export.brought import with_front_end, with_module
from fedvoice.model_export.kinds import ModelConfig, kind_of
from fedvoice.model_export.vocabulary import build_vocabulary, vocabulary_as_given
from fedvoice.protocol.partial import PartialTraining
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.settings import read_toml, wrong_field
from fedvoice.protocol.task import Bucket, FeatureSettings
from fedvoice.protocol.text import DEFAULT_RULE, TextRule, normalise
from fedvoice.protocol.utterances import read_manifest
from fedvoice.protocol.vocabulary import TargetKind, Vocabulary


class BucketConfig(BaseModel):
    """One length bucket; its name is `t<frames>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(ge=1)
    """T, stacked frames, of waveforms samples; at least 2 for speech. Transducers round it up so
    that the joint can work in equal chunks."""
    labels: int = Field(ge=1)
    batch: int = Field(default=8, ge=1)


class StreamingConfig(BaseModel):
    """The sizes of the methods that recognise chunk by chunk; see `protocol.task.Streaming`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(default=4, ge=1, le=100)
    """Encoder (stacked) frames of a call: fewer answer sooner, more cost less."""
    rows: int = Field(default=4, ge=1, le=64)
    """Hypotheses of a call; a wider beam makes several calls."""


class VocabularyConfig(BaseModel):
    """Targets: either a list of `tokens` (words or characters) or a `manifest` with texts.

    Tokens are normalised and sorted like texts, unless `as_given`, which keeps their order and case
    for tasks whose targets are not texts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: TargetKind = TargetKind.WORD
    tokens: tuple[str, ...] = ()
    as_given: bool = False
    manifest: Path | None = None
    pieces: int = Field(default=500, ge=2)
    """Word pieces at most."""
    text: TextRule = DEFAULT_RULE
    """How transcripts become words; not for tokens `as_given`."""

    @model_validator(mode="after")
    def _one_source(self) -> VocabularyConfig:
        if bool(self.tokens) == (self.manifest is not None):
            raise ValueError("give either tokens or manifest")
        if self.tokens and self.kind is TargetKind.PIECE:
            raise ValueError("word pieces are trained on the texts of a manifest")
        if self.as_given and len(set(self.tokens)) < max(1, len(self.tokens)):
            raise ValueError("as_given wants tokens, each of them once")
        return self

    def build(self) -> Vocabulary:
        """The vocabulary; reads the manifest's texts, not its audio."""
        if self.as_given:
            return vocabulary_as_given(self.kind, self.tokens)
        if self.manifest is None:
            for token in self.tokens:
                normalise(token, self.text)  # a token that is refused was meant: it is not left out
            return build_vocabulary(self.kind, self.tokens, rule=self.text)
        texts = [u.text for u in read_manifest(self.manifest, check_audio=False)]
        return build_vocabulary(self.kind, texts, self.pieces, self.text)


class ExportConfig(BaseModel):
    """A task, as data. In TOML: tables model, features, vocabulary, streaming, plan, and
    [[buckets]]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    seed: int = 0
    """Seed of the initial weights."""
    weights: Path | None = None
    """Safetensors or torch file with the parameters that the model begins with, by its own names;
    None: drawn from `seed`."""
    model: ModelConfig
    features: FeatureSettings = FeatureSettings()
    vocabulary: VocabularyConfig
    buckets: tuple[BucketConfig, ...] = Field(min_length=1)
    streaming: StreamingConfig | None = None
    """None: the program recognises whole utterances only."""
    plan: TrainingPlan = TrainingPlan()
    partial: PartialTraining = PartialTraining()

    @field_validator("buckets")
    @classmethod
    def _ascending(cls, buckets: tuple[BucketConfig, ...]) -> tuple[BucketConfig, ...]:
        return tuple(sorted(buckets, key=lambda bucket: (bucket.frames, bucket.labels)))

    @model_validator(mode="after")
    def _enough_frames(self) -> ExportConfig:
        kind = kind_of(self.model)
        kind.check_features(self.features)
        for bucket in self.buckets:
            kind.check_bucket(bucket.frames, bucket.labels)
        return self

    @model_validator(mode="after")
    def _can_stream(self) -> ExportConfig:
        if self.streaming is not None and self.features.is_waveform:
            raise ValueError("streaming with features.kind = 'waveform': only log-mel streams")
        if self.streaming is not None and self.partial != PartialTraining():
            raise ValueError("streaming with partial: merge the model, and export it whole")
        if self.streaming is not None:
            kind_of(self.model).check_streams(self.model)
            chunk_secs = (
                self.streaming.frames * self.features.stack * self.features.hop_samples
                + self.features.fft_size
            ) / self.features.sample_rate
            if chunk_secs > self.features.max_secs:
                raise ValueError(
                    f"streaming.frames makes chunks of {chunk_secs:.1f} s, longer than "
                    f"features.max_secs, {self.features.max_secs:.1f} s"
                )
        return self

    @model_validator(mode="after")
    def _masks_log_mel(self) -> ExportConfig:
        masks = self.plan.spec_augment
        if self.features.is_waveform and masks.time_masks + masks.frequency_masks:
            raise ValueError("plan.spec_augment masks log-mel: leave it out with waveforms")
        return self

    @model_validator(mode="after")
    def _distinct_buckets(self) -> ExportConfig:
        names = [bucket.name for bucket in self.task_buckets()]
        if len(set(names)) < len(names):
            raise ValueError(f"two buckets have the same frames: {', '.join(names)}")
        return self

    def task_buckets(self) -> tuple[Bucket, ...]:
        """The buckets of the package, arenas not yet known."""
        pad = kind_of(self.model).bucket_frames
        return tuple(
            Bucket(name=f"t{pad(b.frames)}", frames=pad(b.frames), labels=b.labels, batch=b.batch)
            for b in self.buckets
        )


def read_config(
    path: Path | None,
    manifest: Path | None = None,
    module: str = "",
    settings: Mapping[str, Any] | None = None,
) -> ExportConfig:
    """Read a TOML file; relative weights and vocabulary.manifest are relative to the file.

    Args:
        path: None: `module` and `manifest` say all.
        manifest: used instead of the file's vocabulary.tokens or vocabulary.manifest; buckets
            are fitted to it if the file has none.
        module: used instead of the file's model, with `settings`; see `brought.with_module`.

    Raises:
        FedvoiceError: `not-found`, `bad-config` naming the field, `bad-plugin`.
    """
    fields: dict[str, Any] = {}
    if path is not None:
        fields = read_toml(
            path,
            wanted="an export's TOML file",
            next_step="Check the path; experiments/ holds examples.",
        )
    if module:
        fields = with_module(fields, module, settings or {})
    fields = with_front_end(fields)
    vocabulary = fields.get("vocabulary")
    named = vocabulary.get("manifest") if isinstance(vocabulary, dict) else None
    if path is not None and isinstance(vocabulary, dict) and isinstance(named, str):
        vocabulary["manifest"] = path.parent / named
    if path is not None and isinstance(fields.get("weights"), str):
        fields["weights"] = path.parent / fields["weights"]
    if manifest is not None and isinstance(vocabulary, dict):
        vocabulary.pop("tokens", None)
        vocabulary.pop("manifest", None)
        fields |= SpeechCorpus(manifest=manifest).task_defaults(fields, vocabulary_of)
    return parse_config(fields, str(path or f"--module {module}"))


def vocabulary_of(fields: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary of a task's table `vocabulary`."""
    return VocabularyConfig.model_validate(fields).build()


def parse_config(fields: dict[str, Any], where: str) -> ExportConfig:
    """Validate fields read from a file or composed by a caller.

    Raises:
        FedvoiceError: `bad-config` naming the field.
    """
    try:
        return ExportConfig.model_validate(fields)
    except ValidationError as error:
        raise wrong_field(
            where,
            error,
            wanted="a setting of an export",
            next_step="Correct the file; `model_export/config.py` lists the settings.",
        ) from error

"""The task package: a directory that fully describes a training task.

    task.json            this module's `TaskManifest`
    task.json.sha256     its digest: a damaged number may still be JSON
    program.pte          the ExecuTorch program; nothing inside that trains
    weights.safetensors  the initial model, one float32 tensor per parameter that trains
    frozen.safetensors   the model's other tensors, if it has any: they lie in the program, too,
                         so phones never read this file; what runs the model without it does

Files are identified by the sha256 of their bytes. Flipped bytes crash the ExecuTorch runtime, so a
program is never loaded before its digest was checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.features import FeatureSettings as FeatureSettings
from fedvoice.protocol.parameters import FlatVector, ParameterTable
from fedvoice.protocol.partial import PartialTraining
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.scoring import Scoring
from fedvoice.protocol.settings import validated
from fedvoice.protocol.vocabulary import Vocabulary

MANIFEST_FILE = "task.json"
MANIFEST_DIGEST_FILE = "task.json.sha256"
PROGRAM_FILE = "program.pte"
WEIGHTS_FILE = "weights.safetensors"
FROZEN_FILE = "frozen.safetensors"
FORMAT_VERSION = 1

_LABELLERS = frozenset({"2nn", "cnn", "char-lstm"})
"""Kinds that take no audio and are scored by labels without manifest fields that state it: 0.1.0
derived both from the kind, and its phones refuse unknown fields."""


def _takes_audio(fields: dict[str, Any]) -> bool:
    return fields.get("model_kind") not in _LABELLERS


def _scoring(fields: dict[str, Any]) -> Scoring:
    return Scoring.WORDS if _takes_audio(fields) else Scoring.LABELS


class Bucket(BaseModel):
    """Fixed shapes of one pair of methods `step_<name>`, `decode_<name>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    frames: int = Field(gt=0)
    """T: maximum number of encoder (stacked) frames."""
    labels: int = Field(gt=0)
    """U: maximum number of target tokens."""
    batch: int = Field(gt=0)
    """B: rows; fewer examples are padded with rows of weight 0."""
    step_arena_bytes: int = 0
    decode_arena_bytes: int = 0
    draws: int = Field(default=0, ge=0)
    """D: random numbers in [0, 1) that a training step takes, for dropout. Written only where it
    is not 0, so that older phones refuse no other package."""

    @model_serializer(mode="wrap")
    def _without_no_draws(self, write: SerializerFunctionWrapHandler) -> Any:
        fields = write(self)
        if not self.draws:
            fields.pop("draws", None)
        return fields

    @property
    def step_method(self) -> str:
        """Name of the training method."""
        return f"step_{self.name}"

    @property
    def decode_method(self) -> str:
        """Name of the greedy decoding method."""
        return f"decode_{self.name}"


class Streaming(BaseModel):
    """Methods that recognise chunk by chunk: `stream_<frames>` for the encoder, with its state in
    and out as one vector whose start is zeros; of a transducer `predict` and `join`, too.

    stream_<C>: features float32 [1, C * stack, mel_bins] normalised, state [S] -> outputs [C, O],
        state [S]. An output is a frame's logits, O = V; of a transducer what `join` takes, O = J.
    predict: tokens int64 [R], states [R, S'] -> predictions [R, J], states [R, S']. A hypothesis
        starts with the blank at states of zeros.
    join: outputs [R, J], predictions [R, J] -> logits [R, V].

    Each takes the weights first, as all methods do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(ge=1)
    """C: encoder (stacked) frames of a call."""
    rows: int = Field(ge=1)
    """R: hypotheses of a call."""
    outputs: int = Field(ge=1)
    """O."""
    encoder_state: int = Field(ge=1)
    """S."""
    predictor_state: int = Field(default=0, ge=0)
    """S'; 0 of a CTC model, which has no predictor."""
    max_symbols_per_frame: int = Field(default=1, ge=1)
    """Tokens that a frame may give; 1 of a CTC model."""

    @property
    def stream_method(self) -> str:
        """Name of the encoder's method."""
        return f"stream_{self.frames}"

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of all."""
        return (self.stream_method, *(("predict", "join") if self.predictor_state else ()))


class TaskManifest(BaseModel):
    """Contents of `task.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    name: str
    model_kind: str
    """Name of a model kind, or `module:name`."""
    takes_audio: bool = Field(default_factory=_takes_audio)
    """Whether examples are made from recordings; see `has_features`. Written only where it differs
    from the kind's default."""
    scoring: Scoring = Field(default_factory=_scoring)
    """What errors are counted in; written when `takes_audio` is."""
    model: dict[str, int | float | bool | str]
    """The exporter's model settings, from which an eager reference is rebuilt."""
    parameters: ParameterTable
    features: FeatureSettings
    buckets: tuple[Bucket, ...] = Field(min_length=1)
    """In ascending order of frames."""
    vocabulary: Vocabulary
    streaming: Streaming | None = None
    """None: only whole utterances are recognised. Written only where there is one, so that older
    phones refuse no other package."""
    plan: TrainingPlan = TrainingPlan()
    operators: tuple[str, ...] = ()
    delegates: tuple[str, ...] = ()
    program_digest: str
    weights_digest: str
    """sha256 of weights.safetensors as exported."""
    partial: PartialTraining = PartialTraining()
    """What of the model trains. This and the next two are written only where they say something,
    so that older phones refuse no other package."""
    frozen_digest: str = ""
    """sha256 of frozen.safetensors; empty: there is none."""
    frozen_bytes: int = Field(default=0, ge=0)
    """What a phone holds of frozen tensors while it trains."""

    @model_serializer(mode="wrap")
    def _without_what_the_kind_implies(self, write: SerializerFunctionWrapHandler) -> Any:
        fields = write(self)
        known = {"model_kind": self.model_kind}
        if self.takes_audio == _takes_audio(known):
            fields.pop("takes_audio", None)
        if self.scoring == _scoring(known):
            fields.pop("scoring", None)
        if self.partial == PartialTraining():
            fields.pop("partial", None)
        if not self.frozen_digest:
            fields.pop("frozen_digest", None)
        if not self.frozen_bytes:
            fields.pop("frozen_bytes", None)
        if self.streaming is None:
            fields.pop("streaming", None)
        return fields

    @property
    def has_features(self) -> bool:
        """Whether the program has the method `features`."""
        return self.takes_audio and not self.features.is_waveform

    def bucket_for(self, frames: int, labels: int) -> Bucket | None:
        """The smallest bucket that holds `frames` encoder frames and `labels` tokens."""
        for bucket in self.buckets:
            if frames <= bucket.frames and labels <= bucket.labels:
                return bucket
        return None


@dataclass(frozen=True)
class TaskPackage:
    """A task directory whose files were checked against their digests."""

    directory: Path
    manifest: TaskManifest

    @property
    def program_path(self) -> Path:
        """The checked program."""
        return self.directory / PROGRAM_FILE

    @property
    def weights_path(self) -> Path:
        """The initial model."""
        return self.directory / WEIGHTS_FILE

    @property
    def frozen_path(self) -> Path | None:
        """The tensors that do not train, if the model has any."""
        return self.directory / FROZEN_FILE if self.manifest.frozen_digest else None

    def weights(self) -> FlatVector:
        """The initial model as a flat float32 vector [P]."""
        return load_weights(self.weights_path, self.manifest.parameters)


def parse_manifest(data: bytes, where: str) -> TaskManifest:
    """Read task.json's bytes.

    Raises:
        FedvoiceError: `bad-package` with the first field that is wrong.
    """
    manifest = validated(
        TaskManifest,
        data,
        where,
        wanted="a task manifest",
        next_step="Export the task again with `fedvoice export`.",
        code=ErrorCode.BAD_PACKAGE,
    )
    if manifest.format_version != FORMAT_VERSION:
        raise FedvoiceError(
            ErrorCode.BAD_PACKAGE,
            where=where,
            got=f"format version {manifest.format_version}",
            wanted=f"format version {FORMAT_VERSION}",
            next_step="Export the task with this version of fedvoice, or update fedvoice.",
        )
    return manifest


def load_package(directory: Path) -> TaskPackage:
    """Read a task package and check its files' digests.

    Raises:
        FedvoiceError: `not-found`, `bad-package`, `wrong-digest`.
    """
    manifest_bytes = _read(directory / MANIFEST_FILE)
    manifest = parse_manifest(manifest_bytes, str(directory / MANIFEST_FILE))
    wanted_digest = _read(directory / MANIFEST_DIGEST_FILE).decode("ascii", "replace").strip()
    check_digest(manifest_bytes, wanted_digest, str(directory / MANIFEST_FILE))
    files = [(PROGRAM_FILE, manifest.program_digest), (WEIGHTS_FILE, manifest.weights_digest)]
    if manifest.frozen_digest:
        files.append((FROZEN_FILE, manifest.frozen_digest))
    for name, wanted in files:
        check_digest(_read(directory / name), wanted, str(directory / name))
    return TaskPackage(directory=directory, manifest=manifest)


def write_package(directory: Path, manifest: TaskManifest, program: bytes) -> TaskPackage:
    """Write task.json, its digest and program.pte beside an existing weights.safetensors.

    `manifest` names the digests of the program and of the weights file; both are checked.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / PROGRAM_FILE).write_bytes(program)
    manifest_bytes = manifest.model_dump_json(indent=1).encode()
    (directory / MANIFEST_FILE).write_bytes(manifest_bytes)
    (directory / MANIFEST_DIGEST_FILE).write_text(f"{digest_of(manifest_bytes)}\n", "ascii")
    return load_package(directory)


def check_digest(data: bytes, wanted: str, where: str) -> None:
    """Raise `wrong-digest` unless sha256(data) is `wanted` (hex)."""
    got = digest_of(data)
    if got != wanted:
        raise FedvoiceError(
            ErrorCode.WRONG_DIGEST,
            where=where,
            got=f"sha256 {got[:16]}..., {len(data)} bytes",
            wanted=f"sha256 {wanted[:16]}...",
            next_step="The file is damaged or not of this package: fetch or export it again.",
        )


def check_takes_audio(manifest: TaskManifest) -> None:
    """Raise `bad-package` for a task whose examples are not made from recordings."""
    if not manifest.takes_audio:
        raise FedvoiceError(
            ErrorCode.BAD_PACKAGE,
            where=f"task {manifest.name}, features",
            got=f"a recording for a model of kind {manifest.model_kind}, which has no front end",
            wanted="a task that learns from recordings (rnnt or ctc)",
            next_step="Export a task of such a kind, or give examples instead of recordings.",
        )


def check_log_mel(manifest: TaskManifest) -> None:
    """Raise `bad-package` for a task whose program has no method `features`."""
    check_takes_audio(manifest)
    if not manifest.has_features:
        raise FedvoiceError(
            ErrorCode.BAD_PACKAGE,
            where=f"task {manifest.name}, features",
            got="log-mel asked of a model that is given the waveform itself",
            wanted="a task of log-mel",
            next_step="Make examples by `protocol.engine.inputs_of`, or update what made this "
            "call: it does not know waveforms yet.",
        )


def check_streams(manifest: TaskManifest) -> Streaming:
    """The task's streaming methods.

    Raises:
        FedvoiceError: `bad-package` for a task without them.
    """
    if manifest.streaming is None:
        raise FedvoiceError(
            ErrorCode.BAD_PACKAGE,
            where=f"task {manifest.name}, streaming",
            got="a program that recognises whole utterances only",
            wanted="one exported with a table [streaming]",
            next_step="Export the task again with `[streaming]` and a unidirectional encoder; the "
            "weights stay good. `fedvoice evaluate` recognises whole utterances.",
        )
    return manifest.streaming


def save_weights(path: Path, flat: FlatVector, table: ParameterTable) -> None:
    """Write a flat vector [P] as safetensors, one tensor per parameter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(table.unpack(flat), path)


def load_weights(path: Path, table: ParameterTable) -> FlatVector:
    """Read safetensors into a flat float32 vector [P].

    Raises:
        FedvoiceError: `not-found`, `bad-package`, `wrong-shape`, `not-finite`.
    """
    if not path.is_file():
        _read(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise FedvoiceError(
            ErrorCode.BAD_PACKAGE,
            where=str(path),
            got=str(error),
            wanted="a safetensors file",
            next_step="The file is damaged or cut short: copy it again.",
        ) from error
    flat = table.pack(tensors, where=str(path))
    if not np.isfinite(flat).all():
        raise FedvoiceError(
            ErrorCode.NOT_FINITE,
            where=str(path),
            got="NaN or infinity among the weights",
            wanted="finite weights",
            next_step="Take the weights of an earlier round.",
        )
    return flat


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=str(path),
            got=str(error.strerror or error),
            wanted="a file of a task package",
            next_step="Check the path; `fedvoice export` makes task packages.",
        ) from error

"""The interface of a model kind: everything that depends on the model, in one object.

This module does not import torch, so that settings are read without a runtime; methods import it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.scoring import Scoring
from fedvoice.protocol.task import Bucket, FeatureSettings

if TYPE_CHECKING:
    from torch import nn

    from fedvoice.model_export.graphs.stream import StreamingGraphs
    from fedvoice.model_export.models.base import TaskModel
    from fedvoice.model_export.models.batched import Losses

Setting = int | float | bool | str


class KindConfig(BaseModel):
    """Sizes of a model, as data; `kind` names the model kind.

    Fields are numbers, flags, texts, or one level of nested settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str


Config = TypeVar("Config", bound=KindConfig)


class ModelKind(ABC, Generic[Config]):
    """One kind of model. A kind for simulations only needs nothing but `build`."""

    config: type[Config]
    """Its settings."""
    takes_audio: bool = True
    """Whether examples are made from recordings: the program then has `features`."""
    scoring: Scoring = Scoring.WORDS
    """The unit of its errors: words or labels."""
    vmaps: bool = False
    """Whether many clients are tried by `torch.func.vmap` where there is no batched loss."""

    @abstractmethod
    def build(self, config: Config, input_size: int, vocabulary_size: int) -> TaskModel:
        """The eager model for inputs of `input_size` values a frame and V tokens, blank included.

        Initial weights are drawn from torch's global generator.

        Raises:
            FedvoiceError: `bad-config` if the model cannot take inputs of this size.
        """

    def graphs(
        self, config: Config, table: ParameterTable, bucket: Bucket, model: TaskModel
    ) -> tuple[nn.Module, nn.Module]:
        """Training step and decoder at a bucket's sizes, with the signatures of `StepGraph` and
        `DecodeGraph`. `model` is the eager one; its weights play no part.

        Raises:
            FedvoiceError: `bad-config` for a kind that cannot be exported.
        """
        not_exportable(config.kind)

    def check_features(self, features: FeatureSettings) -> None:
        """Raise ValueError for a front end that the kind cannot work with."""
        if features.is_waveform:
            raise ValueError(
                "features.kind = 'waveform' is for modules that people bring: this kind takes "
                "log-mel"
            )

    def check_streams(self, config: Config) -> None:
        """Raise ValueError, saying what to do, for a model that cannot recognise chunk by chunk."""
        raise ValueError(
            f"kind {config.kind!r} has no streaming methods: leave out the table [streaming], "
            "or take kind rnnt or ctc with a unidirectional encoder"
        )

    def streaming_graphs(
        self, config: Config, table: ParameterTable, frames: int, rows: int
    ) -> StreamingGraphs:
        """The graphs of a model that `check_streams` took, at C frames and R rows."""
        raise NotImplementedError(config.kind)

    def batched_loss(self, config: Config) -> Losses | None:
        """The hand-written loss of many clients at once; None: see `vmaps`."""
        return None

    def bucket_frames(self, frames: int) -> int:
        """Frames of the smallest bucket that holds `frames` and suits the kind."""
        return frames

    def check_bucket(self, frames: int, labels: int) -> None:
        """Raise ValueError for sizes, as configured, at which the kind cannot work."""
        if self.takes_audio and frames < 2:
            raise ValueError("a bucket of one frame: speech needs at least 2")
        if self.scoring is Scoring.LABELS and labels > frames:
            raise ValueError(f"{labels} labels in {frames} frames: each needs a frame of its own")


def not_exportable(kind: str) -> NoReturn:
    """Raise `bad-config`: this kind has no training graph."""
    raise FedvoiceError(
        ErrorCode.BAD_CONFIG,
        where=f"export, model kind {kind}",
        got="a kind that has no training graph",
        wanted="one that has `graphs`, as those that are built in",
        next_step="Train it on the fast engine without a program: engine = fast, export = false.",
    )

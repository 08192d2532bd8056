"""LSTM transducer: encoder, prediction LSTM, tanh joint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedvoice.model_export.kinds.base import KindConfig, ModelKind
from fedvoice.model_export.kinds.encoder import EncoderConfig
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.task import Bucket

if TYPE_CHECKING:
    from torch import nn

    from fedvoice.model_export.graphs.stream import StreamingGraphs
    from fedvoice.model_export.models.base import TaskModel
    from fedvoice.model_export.models.batched import Losses


class RnntConfig(KindConfig):
    """Sizes of a transducer."""

    kind: Literal["rnnt"] = "rnnt"
    encoder: EncoderConfig = EncoderConfig()
    embedding_size: int = Field(default=256, ge=1)
    predictor_size: int = Field(default=256, ge=1)
    joint_size: int = Field(default=256, ge=1)
    max_symbols_per_frame: int = Field(default=3, ge=1, le=10)
    """Greedy decoding emits at most this many symbols before it moves to the next frame."""


class Rnnt(ModelKind[RnntConfig]):
    """See the module."""

    config = RnntConfig

    def build(self, config: RnntConfig, input_size: int, vocabulary_size: int) -> TaskModel:
        """See `ModelKind`."""
        from fedvoice.model_export.models.rnnt import RnntModel

        return RnntModel(config, input_size, vocabulary_size)

    def graphs(
        self, config: RnntConfig, table: ParameterTable, bucket: Bucket, model: TaskModel
    ) -> tuple[nn.Module, nn.Module]:
        """See `ModelKind`."""
        from fedvoice.model_export.graphs.decode import RnntDecode
        from fedvoice.model_export.graphs.rnnt_step import RnntStep

        step = RnntStep(config, table, bucket.frames, bucket.labels, bucket.batch)
        return step, RnntDecode(config, table, bucket.frames, bucket.batch)

    def check_streams(self, config: RnntConfig) -> None:
        """See `ModelKind`."""
        config.encoder.check_streams()

    def streaming_graphs(
        self, config: RnntConfig, table: ParameterTable, frames: int, rows: int
    ) -> StreamingGraphs:
        """See `ModelKind`."""
        from fedvoice.model_export.graphs.stream import rnnt_streaming

        return rnnt_streaming(config, table, frames, rows)

    def batched_loss(self, config: RnntConfig) -> Losses:
        """See `ModelKind`."""
        from fedvoice.model_export.models.rnnt import many_losses

        return many_losses(config)

    def bucket_frames(self, frames: int) -> int:
        """See `ModelKind`: rounded up, so that the joint can work in equal chunks."""
        from fedvoice.model_export.graphs.chunks import padded_frames

        return padded_frames(frames)


RNNT = Rnnt()

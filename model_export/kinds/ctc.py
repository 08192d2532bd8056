"""LSTM encoder with one linear layer on top, CTC loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fedvoice.model_export.kinds.base import KindConfig, ModelKind
from fedvoice.model_export.kinds.encoder import EncoderConfig
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.task import Bucket

if TYPE_CHECKING:
    from torch import nn

    from fedvoice.model_export.graphs.stream import StreamingGraphs
    from fedvoice.model_export.models.base import TaskModel
    from fedvoice.model_export.models.batched import Losses


class CtcConfig(KindConfig):
    """Sizes of a CTC model."""

    kind: Literal["ctc"] = "ctc"
    encoder: EncoderConfig = EncoderConfig()


class Ctc(ModelKind[CtcConfig]):
    """See the module."""

    config = CtcConfig

    def build(self, config: CtcConfig, input_size: int, vocabulary_size: int) -> TaskModel:
        """See `ModelKind`."""
        from fedvoice.model_export.models.ctc import CtcModel

        return CtcModel(config, input_size, vocabulary_size)

    def graphs(
        self, config: CtcConfig, table: ParameterTable, bucket: Bucket, model: TaskModel
    ) -> tuple[nn.Module, nn.Module]:
        """See `ModelKind`."""
        from fedvoice.model_export.graphs.ctc_step import CtcStep
        from fedvoice.model_export.graphs.decode import CtcDecode

        sizes = bucket.frames, bucket.batch
        return CtcStep(config, table, *sizes), CtcDecode(config, table, *sizes)

    def check_streams(self, config: CtcConfig) -> None:
        """See `ModelKind`."""
        config.encoder.check_streams()

    def streaming_graphs(
        self, config: CtcConfig, table: ParameterTable, frames: int, rows: int
    ) -> StreamingGraphs:
        """See `ModelKind`."""
        from fedvoice.model_export.graphs.stream import ctc_streaming

        return ctc_streaming(config, table, frames, rows)

    def batched_loss(self, config: CtcConfig) -> Losses:
        """See `ModelKind`."""
        from fedvoice.model_export.models.ctc import many_losses

        return many_losses(config)


CTC = Ctc()

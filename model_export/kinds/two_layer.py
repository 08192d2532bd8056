"""The 2NN of McMahan et al. 2016: two equal hidden layers with ReLU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedvoice.model_export.kinds.base import KindConfig
from fedvoice.model_export.kinds.labeller import LabellerKind
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.task import Bucket

if TYPE_CHECKING:
    from fedvoice.model_export.graphs.labeller import LabellerNet
    from fedvoice.model_export.models.base import TaskModel
    from fedvoice.model_export.models.batched import Losses


class TwoLayerConfig(KindConfig):
    """Size of the hidden layers."""

    kind: Literal["2nn"] = "2nn"
    hidden_size: int = Field(default=200, ge=1)


class TwoLayer(LabellerKind[TwoLayerConfig]):
    """See the module."""

    config = TwoLayerConfig

    def build(self, config: TwoLayerConfig, input_size: int, vocabulary_size: int) -> TaskModel:
        """See `ModelKind`."""
        from fedvoice.model_export.models.two_layer import TwoLayerModel

        return TwoLayerModel(config, input_size, vocabulary_size)

    def net(self, config: TwoLayerConfig, table: ParameterTable, bucket: Bucket) -> LabellerNet:
        """See `LabellerKind`."""
        from fedvoice.model_export.graphs.two_layer import TwoLayerNet

        return TwoLayerNet(bucket.frames, bucket.batch)

    def batched_loss(self, config: TwoLayerConfig) -> Losses:
        """See `ModelKind`."""
        from fedvoice.model_export.models.two_layer import many_losses

        return many_losses


TWO_LAYER = TwoLayer()

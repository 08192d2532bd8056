"""The CNN of McMahan et al. 2016: two convolutions with pooling, a dense layer, square images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedvoice.model_export.kinds.base import KindConfig
from fedvoice.model_export.kinds.labeller import LabellerKind
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.task import Bucket

if TYPE_CHECKING:
    from fedvoice.model_export.graphs.labeller import LabellerNet
    from fedvoice.model_export.models.base import TaskModel


class CnnConfig(KindConfig):
    """Channels of the convolutions, units of the dense layer."""

    kind: Literal["cnn"] = "cnn"
    channels1: int = Field(default=32, ge=1)
    channels2: int = Field(default=64, ge=1)
    dense_size: int = Field(default=512, ge=1)


class Cnn(LabellerKind[CnnConfig]):
    """See the module."""

    config = CnnConfig

    def build(self, config: CnnConfig, input_size: int, vocabulary_size: int) -> TaskModel:
        """See `ModelKind`."""
        from fedvoice.model_export.models.cnn import CnnModel

        return CnnModel(config, input_size, vocabulary_size)

    def net(self, config: CnnConfig, table: ParameterTable, bucket: Bucket) -> LabellerNet:
        """See `LabellerKind`. The image's size is in the dense layer: channels2 * (side / 4)^2
        inputs."""
        from fedvoice.model_export.graphs.cnn import CnnNet

        inputs = next(s.shape[1] for s in table.parameters if s.name == "dense.weight")
        side = 4 * math.isqrt(inputs // config.channels2)
        return CnnNet(side, bucket.frames, bucket.batch)


CNN = Cnn()

"""Base of kinds with one label a frame: inputs without recordings, step and decoder."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from fedvoice.model_export.kinds.base import Config, ModelKind
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.scoring import Scoring
from fedvoice.protocol.task import Bucket

if TYPE_CHECKING:
    from torch import nn

    from fedvoice.model_export.graphs.labeller import LabellerNet
    from fedvoice.model_export.models.base import TaskModel


class LabellerKind(ModelKind[Config]):
    """A kind whose model is a `models.labeller.FrameLabeller`."""

    takes_audio = False
    scoring = Scoring.LABELS

    @abstractmethod
    def net(self, config: Config, table: ParameterTable, bucket: Bucket) -> LabellerNet:
        """Logits and their gradient as a graph."""

    def graphs(
        self, config: Config, table: ParameterTable, bucket: Bucket, model: TaskModel
    ) -> tuple[nn.Module, nn.Module]:
        """See `ModelKind`."""
        from fedvoice.model_export.graphs.labeller import LabellerDecode, LabellerStep

        net = self.net(config, table, bucket)
        return LabellerStep(net, table), LabellerDecode(net, table)

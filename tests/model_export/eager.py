"""The graphs as they are, for checks that need no lowering."""

from __future__ import annotations

import torch
from torch import Tensor

from fedvoice.model_export.gradient_check import Checked
from fedvoice.model_export.kinds import kind_of
from fedvoice.protocol.task import Bucket


class EagerGraphs:
    """Runs the graphs as they are; stands where a lowered program would."""

    def __init__(self, checked: Checked, bucket: Bucket) -> None:
        self.step, self.decode = kind_of(checked.config).graphs(
            checked.config, checked.table, bucket, checked.model
        )
        self.count = len(checked.table.parameters)

    @torch.no_grad()
    def run(self, method: str, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        """One of the two methods."""
        graph = self.step if method.startswith("step") else self.decode
        return list(graph(inputs[: self.count], *inputs[self.count :]))

"""The base of training steps: named parameters in, loss and one flat gradient out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fedvoice.model_export.batch import TensorBatch
from fedvoice.protocol.parameters import ALIGNMENT_FLOATS, ParameterTable


class StepGraph(nn.Module, ABC):
    """forward(parameters, x, y, x_lens, y_lens, example_weights) -> loss [], gradient [P].

    parameters: one float32 tensor each, in table order; x float32 [B, T*stack, n_mels];
    y int64 [B, U]; x_lens int64 [B] in stacked frames, at least 1; y_lens int64 [B];
    example_weights float32 [B]. loss = sum_b example_weights[b] * nll[b]: rows of weight 0
    (x_lens 1, y_lens 0) change neither loss nor gradient.
    """

    def __init__(self, table: ParameterTable) -> None:
        super().__init__()
        self.table = table

    def forward(
        self,
        parameters: tuple[Tensor, ...],
        x: Tensor,
        y: Tensor,
        x_lens: Tensor,
        y_lens: Tensor,
        example_weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """See the class."""
        named = {s.name: p for s, p in zip(self.table.parameters, parameters, strict=True)}
        nll, gradients = self.gradients(named, TensorBatch(x, y, x_lens, y_lens, example_weights))
        return (nll * example_weights).sum(), flatten(gradients, self.table)

    @abstractmethod
    def gradients(
        self, parameters: Mapping[str, Tensor], batch: TensorBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """nll [B] and the gradient of the weighted loss by parameter name."""


def flatten(gradients: dict[str, Tensor], table: ParameterTable) -> Tensor:
    """One vector [P] in table layout.

    Aligned gradients stay pieces of their own, which the memory planner puts straight into the
    output; the odd-sized ones and the padding are copied together into one tail piece.
    """
    in_place = sorted(table.parameters, key=lambda spec: spec.offset)
    aligned = [s for s in in_place if s.size % ALIGNMENT_FLOATS == 0]
    odd = [s for s in in_place if s.size % ALIGNMENT_FLOATS]
    pieces = [gradients[s.name].reshape(-1) for s in aligned]
    if odd:
        tail = [gradients[s.name].reshape(-1) for s in odd]
        padding = table.total_size - table.parameter_count
        if padding:
            tail.append(torch.zeros(padding))
        pieces.append(torch.cat(tail).mul(1.0))
    return torch.cat(pieces)

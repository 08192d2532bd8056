"""Frame labellers as graphs: one label for each frame (`models.labeller`).

A net provides logits and their gradient; loss, training step and decoder are shared.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.graphs.decode import DecodeGraph
from fedvoice.model_export.graphs.step import StepGraph
from fedvoice.protocol.parameters import ParameterTable


class LabellerRun(NamedTuple):
    """One pass through a net.

    logits: [B, T, C] for tokens 1..C.
    backward: gradients by parameter name from the gradient of the logits [B, T, C].
    """

    logits: Tensor
    backward: Callable[[Tensor], dict[str, Tensor]]


class LabellerNet(nn.Module, ABC):
    """A net at fixed T and B."""

    def __init__(self, frames: int, batch: int) -> None:
        super().__init__()
        self.frames, self.batch = frames, batch

    @abstractmethod
    def run(self, parameters: Mapping[str, Tensor], x: Tensor) -> LabellerRun:
        """x float32 [B, T*stack, bins]; parameters by name."""


class LabellerStep(StepGraph):
    """Training step of a net."""

    def __init__(self, net: LabellerNet, table: ParameterTable) -> None:
        super().__init__(table)
        self.net = net

    def gradients(
        self, parameters: Mapping[str, Tensor], batch: TensorBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `StepGraph`."""
        run = self.net.run(parameters, batch.features)
        nll, by_logits = frame_loss_gradient(
            run.logits, batch.targets, batch.target_counts, batch.example_weights
        )
        return nll, run.backward(by_logits)


class LabellerDecode(DecodeGraph):
    """The likeliest token of each frame; N = T."""

    def __init__(self, net: LabellerNet, table: ParameterTable) -> None:
        super().__init__(table, net.frames, net.batch)
        self.net = net

    def tokens(self, parameters: Mapping[str, Tensor], x: Tensor, x_lens: Tensor) -> Tensor:
        """See `DecodeGraph`."""
        best = self.net.run(parameters, x).logits.argmax(2).transpose(0, 1) + 1
        inside = torch.arange(self.frames).reshape(-1, 1) < (x_lens * 1).reshape(1, -1)
        return best * inside.to(torch.int64)


def frame_loss_gradient(
    logits: Tensor, y: Tensor, y_lens: Tensor, example_weights: Tensor
) -> tuple[Tensor, Tensor]:
    """nll [B] and the gradient [B, T, C] of sum_b example_weights[b] * nll[b].

    nll is the mean cross-entropy over a row's labels, 0 for a row without any. Its gradient by a
    frame's logits is (softmax - one-hot) / y_lens, and 0 past the labels.

    Args:
        logits: [B, T, C] for tokens 1..C.
        y: int64 [B, U], U <= T; y_lens int64 [B].
    """
    batch, frames, classes = logits.shape
    y = functional.pad(y, (0, frames - y.shape[1]))
    log_p = torch.log_softmax(logits, -1)
    said = (y.unsqueeze(2) == torch.arange(1, classes + 1)).to(torch.float32)
    lengths = (y_lens * 1).reshape(batch, 1)
    inside = (torch.arange(frames)[None, :] < lengths).to(torch.float32)
    share = inside / torch.clamp(lengths.to(torch.float32), min=1.0)
    nll = -((log_p * said).sum(2) * share).sum(1)
    weights = (share * example_weights.reshape(batch, 1)).unsqueeze(2)
    return nll, (torch.exp(log_p) - said) * weights

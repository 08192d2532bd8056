"""Traced graphs with the signatures that every program has: `StepGraph` and `DecodeGraph`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.graphs.step import flatten
from fedvoice.model_export.kinds.module import Predicts
from fedvoice.model_export.models.module import ModuleModel
from fedvoice.model_export.models.partial import PartialModel
from fedvoice.model_export.traced.trace import Traced, trace_gradient, trace_result
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.task import Bucket


class TracedStep(nn.Module):
    """A module's training step; forward as `StepGraph`."""

    def __init__(self, traced: Traced, stacked: tuple[int, int, int]) -> None:
        super().__init__()
        # Not `graph`: export makes a GraphModule of this, which has one.
        self.traced, self.plain, self.stacked = traced, traced.graph, stacked

    def forward(
        self,
        parameters: tuple[Tensor, ...],
        x: Tensor,
        y: Tensor,
        x_lens: Tensor,
        y_lens: Tensor,
        example_weights: Tensor,
        *draws: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """See `StepGraph`. draws: float32 [D], of a module with dropout."""
        inputs = (x.reshape(self.stacked), y, x_lens, y_lens, example_weights, *draws)
        loss, gradient = self.plain(*parameters, *inputs)
        return loss, gradient


class TracedDecode(nn.Module):
    """A module's predictions as tokens; forward as `DecodeGraph`."""

    def __init__(self, traced: Traced, stacked: tuple[int, int, int]) -> None:
        super().__init__()
        # Not `graph`: export makes a GraphModule of this, which has one.
        self.traced, self.plain, self.stacked = traced, traced.graph, stacked

    def forward(
        self, parameters: tuple[Tensor, ...], x: Tensor, x_lens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `DecodeGraph`."""
        tokens = self.plain(*parameters, x.reshape(self.stacked), x_lens)
        return tokens, (tokens != 0).to(torch.int64).sum(0)


def traced_graphs(
    model: ModuleModel | PartialModel, table: ParameterTable, bucket: Bucket
) -> tuple[TracedStep, TracedDecode]:
    """Training step and decoder of a user's module at a bucket's sizes.

    Raises:
        FedvoiceError: `bad-config` for what cannot be traced, or a module without `predict`.
    """
    base = model.base if isinstance(model, PartialModel) else model
    assert isinstance(base, ModuleModel)
    stacked = (bucket.batch, bucket.frames, base.input_size)
    named = dict(model.named_parameters())
    trained = {spec.name: named[spec.name].detach() for spec in table.parameters}
    batch = base.full_batch(bucket)

    def whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return model.whole(tensors) if isinstance(model, PartialModel) else tensors

    def loss(module: Any, inputs: Sequence[Tensor]) -> Tensor:
        given = TensorBatch(*inputs)
        return (base.losses(module, given) * given.example_weights).sum()

    def flat(gradients: dict[str, Tensor]) -> Tensor:
        return flatten(gradients, table)

    def tokens(module: Any, inputs: Sequence[Tensor]) -> Tensor:
        given = TensorBatch.to_transcribe(*inputs)
        found = base.predictions(module, given)
        assert base.predicts is not None
        return tokens_of(base.predicts, *found)

    step = trace_gradient(base.module, trained, batch, loss, flat, whole)
    to_transcribe = (batch.features, batch.frame_counts)
    decode = trace_result(base.module, trained, to_transcribe, tokens, whole)
    return TracedStep(step, stacked), TracedDecode(decode, stacked)


def tokens_of(predicts: Predicts, logits: Tensor, counts: Tensor) -> Tensor:
    """Tokens int64 [N, B] in order of time, 0 where nothing is emitted."""
    if predicts is Predicts.LABEL:
        return logits.argmax(1)[None]
    best = logits.argmax(2).transpose(0, 1)
    frames, batch = best.shape
    inside = torch.arange(frames)[:, None] < counts[None, :]
    if predicts is Predicts.CTC:
        before = torch.cat([torch.zeros(1, batch, dtype=torch.int64), best[:-1]], 0)
        inside = inside & (best != before)
    return best * inside.to(torch.int64)

"""Many clients at once for models without a batched loss of their own, by `torch.func.vmap`.

Where vmap fails (a loss that reads values, an operation without a batching rule) or disagrees with
autograd, clients are computed one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.flat_model import FlatModel
from fedvoice.model_export.models.base import TaskModel
from fedvoice.protocol.task import TaskManifest

TOLERANCE = 1e-4
"""Tolerance between a client's gradient by vmap and by autograd, relative to its norm."""


class _Nll(nn.Module):
    """`TaskModel.nll` as a forward, which is what `functional_call` calls."""

    def __init__(self, model: TaskModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: TensorBatch) -> Tensor:
        """Losses [B]."""
        return self.model.nll(batch)


class VmappedModel:
    """Up to K clients: `simulation.fast.models.GroupModel`.

    No row that only fills up reaches the loss: clients with equally many rows go together.

    Attributes:
        vmaps: whether vmap is used; None before the first batch of more than one client. A fixed
            probe of the task decides, never that batch: the same clients give the same bits
            whatever was trained before them.
    """

    def __init__(self, manifest: TaskManifest, clients: int, frozen: Path | None = None) -> None:
        self._manifest, self._alone = manifest, FlatModel(manifest, frozen)
        self._specs = manifest.parameters.parameters
        size = manifest.parameters.total_size
        self.weights, self.gradient = torch.zeros(clients, size), torch.zeros(clients, size)
        self.vmaps: bool | None = None
        module = self._alone.module
        real = {id(p): name for name, p in nn.Module.named_parameters(module)}
        self._names = {n: f"model.{real[id(p)]}" for n, p in module.named_parameters()}
        self._nll = _Nll(module)
        self._many = vmap(grad_and_value(self._loss))

    def compute_gradients(self, batch: TensorBatch, *, add: bool) -> Tensor:
        """See `GroupModel`."""
        active = len(batch.features)
        if not add:
            self.gradient[:active] = 0
        losses = torch.zeros(active)
        by_rows: dict[int, list[int]] = {}
        for client, rows in enumerate((batch.example_weights > 0).sum(1).tolist()):
            if rows:
                by_rows.setdefault(rows, []).append(client)
        for rows, clients in by_rows.items():
            part = TensorBatch(*(tensor[clients, :rows] for tensor in batch))
            losses[clients] = self._compute(clients, part)
        return losses

    def _compute(self, clients: Sequence[int], batch: TensorBatch) -> Tensor:
        """Losses of these clients; their gradients are added."""
        if len(clients) > 1 and self.vmaps is None:
            self.vmaps = self._agrees(*probe(self._manifest))
        compute = self._together if len(clients) > 1 and self.vmaps else self._one_by_one
        gradients, losses = compute(self.weights[clients], batch)
        self.gradient.index_add_(0, torch.tensor(clients), gradients)
        return losses

    def _agrees(self, weights: Tensor, batch: TensorBatch) -> bool:
        """Whether vmap gives what autograd gives."""
        try:
            found, losses = self._one_by_one(weights, batch)
            gradients, again = self._together(weights, batch)
        except Exception:  # a mistake of the loss itself is raised by the batch to be trained on
            return False
        norms = found.norm(dim=1).clamp(min=1e-12)
        right = bool(((gradients - found).norm(dim=1) <= TOLERANCE * norms).all())
        return right and torch.allclose(again, losses, rtol=TOLERANCE)

    def _one_by_one(self, weights: Tensor, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """Gradients [A, P] and losses [A] of clients at `weights` [A, P], by autograd."""
        gradients, losses = torch.empty_like(weights), []
        for place, own in enumerate(weights):
            self._alone.weights.copy_(own)
            losses.append(self._alone.compute_gradient(batch.of(place), add=False))
            gradients[place] = self._alone.gradient
        return gradients, torch.stack(losses)

    def _together(self, weights: Tensor, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """The same by vmap."""
        parameters = {s.name: weights[:, s.place].reshape(-1, *s.shape) for s in self._specs}
        found: tuple[dict[str, Tensor], Tensor] = self._many(parameters, batch)
        gradients, losses = found
        flat = torch.zeros_like(weights)
        for spec in self._specs:
            flat[:, spec.place] = gradients[spec.name].reshape(len(weights), -1)
        return flat, losses

    def _loss(self, parameters: dict[str, Tensor], batch: TensorBatch) -> Tensor:
        named = {self._names[name]: value for name, value in parameters.items()}
        nll: Tensor = functional_call(self._nll, named, (batch,))
        return (nll * batch.example_weights).sum()


def probe(manifest: TaskManifest) -> tuple[Tensor, TensorBatch]:
    """Weights float32 [2, P] and a batch [2, 2, ...] of the task's smallest bucket, always the
    same: of each client a row of full length and one of half; the second has fewer targets, since
    some losses take their shapes from the longest (PyTorch's CTC). Features lie in [0, 1), which
    also embeddings of features take; no target follows itself, as CTC has it easiest."""
    random = torch.Generator().manual_seed(0)
    bucket = min(manifest.buckets, key=lambda own: (own.frames, own.labels))
    frames, labels = bucket.frames, bucket.labels
    inputs = manifest.features.stack * manifest.features.mel_bins
    weights = torch.randn(2, manifest.parameters.total_size, generator=random) * 0.1
    features = torch.rand(2, 2, frames, inputs, generator=random)
    tokens = max(1, manifest.vocabulary.size - 1)
    first = torch.randint(tokens, (2, 2, 1), generator=random)
    targets = (first + torch.arange(labels)) % tokens + 1
    frame_counts = torch.tensor([frames, max(1, frames // 2)]).repeat(2, 1)
    target_counts = torch.tensor([[labels, max(1, labels // 2)], [max(1, labels // 2), 1]])
    features *= (torch.arange(frames) < frame_counts[..., None])[..., None]
    targets *= torch.arange(labels) < target_counts[..., None]
    example_weights = torch.full((2, 2), 0.5)
    return weights, TensorBatch(features, targets, frame_counts, target_counts, example_weights)

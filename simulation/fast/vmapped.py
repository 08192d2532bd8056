"""Many clients at once for models without a batched loss of their own, by `torch.func.vmap`.

Where vmap fails (a loss that reads values, an operation without a batching rule) or disagrees with
autograd, clients are computed one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

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
        vmaps: whether vmap is used; None before the first batch of more than one client, which is
            also computed client by client and compared.
    """

    def __init__(self, manifest: TaskManifest, clients: int) -> None:
        self._alone = FlatModel(manifest)
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
        if len(clients) == 1 or self.vmaps is False:
            return self._one_by_one(clients, batch)
        if self.vmaps is None:
            return self._first(clients, batch)
        gradients, losses = self._together(clients, batch)
        self._add(clients, gradients)
        return losses

    def _first(self, clients: Sequence[int], batch: TensorBatch) -> Tensor:
        """Compute both ways and compare; the results are autograd's."""
        before = self.gradient[clients]
        losses = self._one_by_one(clients, batch)
        found = self.gradient[clients] - before
        try:
            gradients, again = self._together(clients, batch)
        except Exception:  # autograd has just succeeded on the same batch, so any error is vmap's
            self.vmaps = False
            return losses
        flat = torch.zeros_like(found)
        for spec in self._specs:
            flat[:, spec.place] = gradients[spec.name].reshape(len(clients), -1)
        norms = found.norm(dim=1).clamp(min=1e-12)
        right = bool(((flat - found).norm(dim=1) <= TOLERANCE * norms).all())
        self.vmaps = right and torch.allclose(again, losses, rtol=TOLERANCE)
        return losses

    def _one_by_one(self, clients: Sequence[int], batch: TensorBatch) -> Tensor:
        losses = []
        for place, client in enumerate(clients):
            self._alone.weights.copy_(self.weights[client])
            losses.append(self._alone.compute_gradient(batch.of(place), add=False))
            self.gradient[client] += self._alone.gradient
        return torch.stack(losses)

    def _together(
        self, clients: Sequence[int], batch: TensorBatch
    ) -> tuple[dict[str, Tensor], Tensor]:
        weights = self.weights[clients]
        parameters = {s.name: weights[:, s.place].reshape(-1, *s.shape) for s in self._specs}
        found: tuple[dict[str, Tensor], Tensor] = self._many(parameters, batch)
        return found

    def _loss(self, parameters: dict[str, Tensor], batch: TensorBatch) -> Tensor:
        named = {self._names[name]: value for name, value in parameters.items()}
        nll: Tensor = functional_call(self._nll, named, (batch,))
        return (nll * batch.example_weights).sum()

    def _add(self, clients: Sequence[int], gradients: dict[str, Tensor]) -> None:
        index = torch.tensor(clients)
        for spec in self._specs:
            self.gradient[:, spec.place].index_add_(
                0, index, gradients[spec.name].reshape(len(clients), -1)
            )

"""Eager models over flat vectors: one for one client at a time, one for many at once."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.flat_model import FlatModel
from fedvoice.model_export.kinds import from_settings, kind_of
from fedvoice.model_export.models.batched_layers import Weight
from fedvoice.protocol.parameters import ParameterSpec
from fedvoice.protocol.partial import PartialTraining
from fedvoice.protocol.task import TaskManifest
from fedvoice.simulation.fast.vmapped import VmappedModel

MOST_CLIENTS = 8
"""Most clients trained together: larger groups save no more call overhead."""
GROUP_WEIGHTS_BYTES = 4 << 20
"""Most bytes of weights of clients that train together; more do not fit a core's cache.

Measured on a core with 2 MB of second-level cache, with CTC and RNN-T models of 64 to 320 units
and the 2NN (0.4 to 6.6 MB): a step of 10 rows takes at most a tenth longer than with the best of
1, 2, 4 and 8, one of 2 or 40 rows at most a fifth. Groups of 8 take up to a third longer with
the larger models."""


class GroupModel(Protocol):
    """Weights and gradients of up to K clients.

    Attributes:
        weights, gradient: float32 [K, P].
    """

    weights: Tensor
    gradient: Tensor

    def compute_gradients(self, batch: TensorBatch, *, add: bool) -> Tensor:
        """Weighted losses [A] of the first A <= K clients, from `batch` [A, B, ...]; their
        gradients take the place of what is in `gradient`, or with `add` are added to it."""


class OneModel:
    """The model as its kind builds it: K = 1. Also transcribes."""

    def __init__(self, manifest: TaskManifest, frozen: Path | None = None) -> None:
        flat = FlatModel(manifest, frozen)
        self._flat, self.module, self.transcribe = flat, flat.module, flat.transcribe
        self.weights, self.gradient = flat.weights[None], flat.gradient[None]  # the same memory

    def compute_gradients(self, batch: TensorBatch, *, add: bool) -> Tensor:
        """See `GroupModel`: A is 1."""
        return self._flat.compute_gradient(batch.of(0), add=add).reshape(1)


class ManyModel:
    """Many clients at once, by the kind's batched loss."""

    def __init__(self, manifest: TaskManifest, clients: int) -> None:
        config = from_settings(manifest.model_kind, manifest.model)
        losses = kind_of(config).batched_loss(config)
        assert losses is not None, f"no batched form of {manifest.model_kind}"
        self._losses, self._specs = losses, manifest.parameters.parameters
        size = manifest.parameters.total_size
        self.weights, self.gradient = torch.zeros(clients, size), torch.zeros(clients, size)

    def compute_gradients(self, batch: TensorBatch, *, add: bool) -> Tensor:
        """See `GroupModel`."""
        active = len(batch.features)
        parameters = {spec.name: self._weight(spec, active, add) for spec in self._specs}
        losses = (self._losses(parameters, batch) * batch.example_weights).sum(1)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        return losses.detach()

    def _weight(self, spec: ParameterSpec, active: int, add: bool) -> Weight:
        """A parameter as a view of the weights, its gradient as a view of the flat gradient."""
        value, gradient = (
            flat[:active, spec.place].view(active, *spec.shape)
            for flat in (self.weights, self.gradient)
        )
        return Weight(value, gradient, add)


def group_model(manifest: TaskManifest, clients: int, frozen: Path | None) -> GroupModel:
    """The model for up to K clients, of a task that `has_many`."""
    if not _has_batched_loss(manifest):
        return VmappedModel(manifest, clients, frozen)
    return ManyModel(manifest, clients)


def has_many(manifest: TaskManifest) -> bool:
    """Whether the task's clients can train together."""
    config = from_settings(manifest.model_kind, manifest.model)
    return kind_of(config).vmaps or _has_batched_loss(manifest)


def _has_batched_loss(manifest: TaskManifest) -> bool:
    """Hand-written ones train whole models."""
    config = from_settings(manifest.model_kind, manifest.model)
    return (
        manifest.partial == PartialTraining() and kind_of(config).batched_loss(config) is not None
    )


def best_group(manifest: TaskManifest) -> int:
    """How many clients train fastest together: 1, 2, 4 or 8."""
    if not has_many(manifest):
        return 1
    clients = MOST_CLIENTS
    while clients > 1 and clients * manifest.parameters.weights_bytes > GROUP_WEIGHTS_BYTES:
        clients //= 2
    return clients

"""Eager models over flat vectors: one for one client at a time, one for many at once."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from fedvoice.model_export.models import build_model
from fedvoice.model_export.models.config import from_settings
from fedvoice.model_export.models.loss import loss_of
from fedvoice.protocol.parameters import ParameterSpec
from fedvoice.protocol.task import TaskManifest
from fedvoice.simulation.fast.layers import Weight
from fedvoice.simulation.fast.many_models import many_losses

MOST_CLIENTS = 8
"""Trained together at most: beyond that nothing is gained by sharing the cost of calls."""
GROUP_WEIGHTS_BYTES = 4 << 20
"""The weights of clients that train together take no more than this, or leave a core's cache.

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

    def compute_gradients(
        self,
        x: Tensor,
        y: Tensor,
        x_lens: Tensor,
        y_lens: Tensor,
        example_weights: Tensor,
        *,
        add: bool,
    ) -> Tensor:
        """Weighted losses [A] of the first A <= K clients; their gradients take the place of what
        is in `gradient`, or with `add` are added to it.

        Args:
            x: stacked features [A, B, T, I]. y: int64 [A, B, U]. x_lens (stacked frames), y_lens:
                int64 [A, B]. example_weights: [A, B], 0 in rows that only fill up.
        """


class OneModel:
    """The model as `model_export.models` has it: K = 1. Also transcribes."""

    def __init__(self, manifest: TaskManifest) -> None:
        features = manifest.features
        config = from_settings(manifest.model_kind, manifest.model)
        self.module = build_model(
            config, features.stack * features.mel_bins, manifest.vocabulary.size
        )
        size = manifest.parameters.total_size
        self.weights, self.gradient = torch.zeros(1, size), torch.zeros(1, size)
        parameters = dict(self.module.named_parameters())
        for spec in manifest.parameters.parameters:
            parameters[spec.name].data = self.weights[0, spec.place].view(spec.shape)
            parameters[spec.name].grad = self.gradient[0, spec.place].view(spec.shape)

    def compute_gradients(
        self,
        x: Tensor,
        y: Tensor,
        x_lens: Tensor,
        y_lens: Tensor,
        example_weights: Tensor,
        *,
        add: bool,
    ) -> Tensor:
        """See `GroupModel`: A is 1."""
        if not add:
            self.gradient.zero_()
        loss = loss_of(self.module, x[0], y[0], x_lens[0], y_lens[0], example_weights[0])
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach().reshape(1)

    def transcribe(self, x: Tensor, x_lens: Tensor) -> list[list[int]]:
        """Greedy token ids at `weights`, a list a row of x [B, T, I], x_lens int64 [B]."""
        return [hypothesis.tokens for hypothesis in self.module.greedy(x, x_lens)]


class ManyModel:
    """Many clients at once, by `many_models`."""

    def __init__(self, manifest: TaskManifest, clients: int) -> None:
        losses = many_losses(from_settings(manifest.model_kind, manifest.model))
        assert losses is not None, f"no batched form of {manifest.model_kind}"
        self._losses, self._specs = losses, manifest.parameters.parameters
        size = manifest.parameters.total_size
        self.weights, self.gradient = torch.zeros(clients, size), torch.zeros(clients, size)

    def compute_gradients(
        self,
        x: Tensor,
        y: Tensor,
        x_lens: Tensor,
        y_lens: Tensor,
        example_weights: Tensor,
        *,
        add: bool,
    ) -> Tensor:
        """See `GroupModel`."""
        active = len(x)
        parameters = {spec.name: self._weight(spec, active, add) for spec in self._specs}
        losses = (self._losses(parameters, x, y, x_lens, y_lens) * example_weights).sum(1)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        return losses.detach()

    def _weight(self, spec: ParameterSpec, active: int, add: bool) -> Weight:
        """A parameter where it lies, and its gradient where it belongs."""
        value, gradient = (
            flat[:active, spec.place].view(active, *spec.shape)
            for flat in (self.weights, self.gradient)
        )
        return Weight(value, gradient, add)


def has_many(manifest: TaskManifest) -> bool:
    """Whether the task's model has a batched form."""
    return many_losses(from_settings(manifest.model_kind, manifest.model)) is not None


def best_group(manifest: TaskManifest) -> int:
    """How many clients train fastest together: 1, 2, 4 or 8."""
    if not has_many(manifest):
        return 1
    clients = MOST_CLIENTS
    while clients > 1 and clients * manifest.parameters.weights_bytes > GROUP_WEIGHTS_BYTES:
        clients //= 2
    return clients

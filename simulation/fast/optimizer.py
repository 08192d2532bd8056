"""The client's optimiser in torch: the arithmetic of `device_runtime.optimizer`, whole vectors of
many clients at a time instead of blocks that fit a phone's cache. Conformance tests hold one to
the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from fedvoice.device_runtime.layers import Layers
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.random import (
    NORMAL_TABLE_SIZE,
    normal_table,
)


class ClientSgd:
    """Clipped SGD with momentum, federated variational noise and FedProx, for a round of K clients.

    Args:
        weights: float32 [K, P], stepped in place.
        gradient: float32 [K, P], made anew between `begin_step` and `end_step`.
        initial: float32 [P], the weights that the round began with.
    """

    def __init__(
        self, weights: Tensor, gradient: Tensor, initial: Tensor, plan: TrainingPlan, layers: Layers
    ) -> None:
        self._weights, self._gradient, self._initial = weights, gradient, initial
        self._plan, self._layers = plan, layers
        self._momentum = torch.zeros_like(weights) if plan.client_momentum > 0 else None
        self._clean = torch.empty_like(weights) if plan.fvn_std > 0 else None

    def begin_step(self, noise_offsets: Sequence[int], active: int) -> None:
        """With FVN move the first `active` clients to their noisy points, read at `noise_offsets`,
        one a client."""
        if self._clean is None:
            return
        self._clean[:active].copy_(self._weights[:active])
        for client, offset in enumerate(noise_offsets):
            for part, std in self._layers.noise:
                if std > 0:
                    own = self._weights[client, part]
                    add_noise(own, self._plan.seed, std, offset + part.start)

    def end_step(self, active: int) -> None:
        """Go back to the clean points and step: g clipped; m = momentum m + g; w -= rate (m or g).

        A norm that is not finite poisons the weights, which the caller sees in the delta.
        """
        weights, gradient, plan = self._weights[:active], self._gradient[:active], self._plan
        if self._clean is not None:
            weights.copy_(self._clean[:active])
        if plan.prox_mu > 0:
            gradient.add_(weights - self._initial, alpha=plan.prox_mu)
        for part in self._layers.frozen:
            gradient[:, part] = 0
        if self._layers.shares:
            for part, share in self._layers.shares:
                gradient[:, part] *= clip_factors(gradient[:, part], plan.clip_norm * share)
        elif plan.clip_norm > 0:
            gradient *= clip_factors(gradient, plan.clip_norm)
        step = gradient
        if self._momentum is not None:
            step = self._momentum[:active].mul_(plan.client_momentum).add_(gradient)
        weights.add_(step, alpha=-plan.client_rate)


def clip_factors(vectors: Tensor, bound: float) -> Tensor:
    """[K, n] -> [K, 1]: what brings each vector within `bound`; 0: no bound."""
    if bound == 0:
        return torch.ones(len(vectors), 1)
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    # Written so that NaN does not pass for a small norm.
    return torch.where(norms <= bound, torch.ones(()), bound / norms)


def add_noise(weights: Tensor, seed: int, std: float, offset: int) -> None:
    """weights [n] += std * normals of the plan's table from `offset` on, wrapping round."""
    table = _normals(seed)
    filled, start = 0, offset % NORMAL_TABLE_SIZE
    while filled < weights.numel():
        take = min(NORMAL_TABLE_SIZE - start, weights.numel() - filled)
        weights[filled : filled + take].add_(table[start : start + take], alpha=std)
        filled, start = filled + take, 0


@lru_cache(maxsize=2)
def _normals(seed: int) -> Tensor:
    return torch.from_numpy(normal_table(seed).copy())  # torch has no read-only tensors

"""The client's optimiser in torch: the arithmetic of `device_runtime.optimizer`, whole vectors at
a time instead of blocks that fit a phone's cache. Conformance tests hold one to the other."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from device_runtime.layers import Layers
from protocol.plan import TrainingPlan
from protocol.random import NORMAL_TABLE_SIZE, normal_table


class ClientSgd:
    """Clipped SGD with momentum, federated variational noise and FedProx, for one client's round.

    Args:
        weights: float32 [P], stepped in place.
        gradient: float32 [P], cleared before every step.
        initial: float32 [P], the weights that the round began with.
    """

    def __init__(
        self, weights: Tensor, gradient: Tensor, initial: Tensor, plan: TrainingPlan, layers: Layers
    ) -> None:
        self._weights, self._gradient, self._initial = weights, gradient, initial
        self._plan, self._layers = plan, layers
        self._momentum = torch.zeros_like(weights) if plan.client_momentum > 0 else None
        self._clean = torch.empty_like(weights) if plan.fvn_std > 0 else None

    def begin_step(self, noise_offset: int | None) -> None:
        """Clear the gradient; with FVN move to the noisy point read at `noise_offset`."""
        self._gradient.zero_()
        if self._clean is not None and noise_offset is not None:
            self._clean.copy_(self._weights)
            for part, std in self._layers.noise:
                if std > 0:
                    add_noise(self._weights[part], self._plan.seed, std, noise_offset + part.start)

    def end_step(self) -> None:
        """Go back to the clean point and step: g clipped; m = momentum m + g; w -= rate (m or g).

        A norm that is not finite poisons the weights, which the caller sees in the delta.
        """
        weights, gradient, plan = self._weights, self._gradient, self._plan
        if self._clean is not None:
            weights.copy_(self._clean)
        if plan.prox_mu > 0:
            gradient.add_(weights - self._initial, alpha=plan.prox_mu)
        for part in self._layers.frozen:
            gradient[part] = 0
        factor = 1.0
        if self._layers.shares:
            for part, share in self._layers.shares:
                gradient[part] *= clip_factor(gradient[part], plan.clip_norm * share)
        else:
            factor = clip_factor(gradient, plan.clip_norm)
        if self._momentum is None:
            weights.add_(gradient, alpha=-plan.client_rate * factor)
        else:
            self._momentum.mul_(plan.client_momentum).add_(gradient, alpha=factor)
            weights.add_(self._momentum, alpha=-plan.client_rate)


def clip_factor(vector: Tensor, bound: float) -> float:
    """What brings `vector` within `bound`; 0: no bound. NaN or 0 for a norm that is not finite."""
    if bound == 0:
        return 1.0
    norm = float(torch.linalg.vector_norm(vector))
    # Written so that NaN does not pass for a small norm.
    return 1.0 if norm <= bound else bound / norm


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

"""The client's optimiser in torch: the arithmetic of `device_runtime.optimizer`, whole vectors of
many clients at a time instead of blocks that fit a phone's cache. Conformance tests hold one to
the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fedvoice.algorithm.client_rules import PlannedRule, RuleState
from fedvoice.device_runtime.layers import Layers
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.random import TABLE_SIZE, normal_table


class ClientSgd:
    """Clipped SGD with momentum (or the plan's client rule), federated variational noise and
    FedProx, for a round of K clients.

    Args:
        weights: float32 [K, P], stepped in place.
        gradient: float32 [K, P], made anew between `begin_step` and `end_step`.
        initial: float32 [P], the weights that the round began with.

    Raises:
        FedvoiceError: `bad-config`, `bad-plugin` for a client rule that cannot be had.
    """

    def __init__(
        self, weights: Tensor, gradient: Tensor, initial: Tensor, plan: TrainingPlan, layers: Layers
    ) -> None:
        self._weights, self._gradient, self._initial = weights, gradient, initial
        self._plan, self._layers = plan, layers
        self._momentum = torch.zeros_like(weights) if plan.client_momentum > 0 else None
        self._clean = torch.empty_like(weights) if plan.fvn_std > 0 else None
        rule = PlannedRule.of(plan)
        self._rule = None if rule is None else _RuleSteps(rule, layers)

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

        Raises:
            FedvoiceError: `bad-plugin` if the plan's client rule fails or breaks its contract.
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
        if self._rule is not None:
            self._rule.step(weights, gradient)
            return
        step = gradient
        if self._momentum is not None:
            step = self._momentum[:active].mul_(plan.client_momentum).add_(gradient)
        weights.add_(step, alpha=-plan.client_rate)


class _RuleSteps:
    """The steps of a client rule, clients along the first axis."""

    def __init__(self, rule: PlannedRule, layers: Layers) -> None:
        self._rule, self._layers = rule, layers
        # The rule's own: it may keep what it is given, and the tensors are written again.
        self._weights: Float32Array | None = None
        self._state: RuleState = {}

    def step(self, weights: Tensor, gradient: Tensor) -> None:
        """One step of the clients still at work, the first ones; `weights` [A, P] in place."""
        active = len(weights)
        if self._weights is None:
            self._weights = weights.numpy().copy()
            self._state = self._rule.init(self._weights)
        state = {name: vectors[:active] for name, vectors in self._state.items()}
        stepped, self._state = self._rule.step(
            self._weights[:active], gradient.numpy().copy(), state, self._layers.frozen
        )
        # Whatever the rule makes of a gradient that is not finite: that client has diverged.
        stepped[~torch.isfinite(gradient).all(dim=1).numpy()] = np.nan
        self._weights = stepped
        np.copyto(weights.numpy(), stepped)


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
    filled, start = 0, offset % TABLE_SIZE
    while filled < weights.numel():
        take = min(TABLE_SIZE - start, weights.numel() - filled)
        weights[filled : filled + take].add_(table[start : start + take], alpha=std)
        filled, start = filled + take, 0


@lru_cache(maxsize=2)
def _normals(seed: int) -> Tensor:
    return torch.from_numpy(normal_table(seed).copy())  # torch has no read-only tensors

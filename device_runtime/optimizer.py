"""The client's optimiser: clipped SGD with momentum and federated variational noise.

FVN is section 4.2.2 of Guliani, Beaufays, Motta (arXiv 2010.15965): Gaussian noise is added to
the weights at every step, the gradient is taken at the noisy point and applied to the clean one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from device_runtime.flat import add_scaled, clip_factor, scale_and_add
from protocol.parameters import FlatVector
from protocol.plan import TrainingPlan
from protocol.random import normal_table, read_normals


@dataclass
class ClientState:
    """What changes from step to step, all of it in a checkpoint.

    weights: float32 [P]. momentum: float32 [P], None without momentum.
    """

    weights: FlatVector
    momentum: FlatVector | None
    steps: int = 0
    examples_seen: int = 0
    loss_sum: float = 0.0
    """Sum over the examples seen of each one's loss."""
    train_secs: float = 0.0
    peak_memory_bytes: int = 0

    @classmethod
    def start(cls, initial: FlatVector, plan: TrainingPlan) -> ClientState:
        """Before the first step; `initial` is copied."""
        momentum = np.zeros_like(initial) if plan.client_momentum > 0 else None
        return cls(weights=initial.copy(), momentum=momentum)


def optimizer_state_bytes(weights_bytes: int, plan: TrainingPlan, *, accumulates: bool) -> int:
    """Bytes beside weights, gradient and arena that local training keeps, part of mu.

    One vector of the model's size for each of: momentum; the noisy weights of FVN; the sum of
    gradients of a batch that needs more than one call of the program. The received weights that
    the delta is taken against do not count: a phone reads them back from its blob cache.
    """
    vectors = (plan.client_momentum > 0) + (plan.fvn_std > 0) + accumulates
    return weights_bytes * vectors


def noisy_weights(
    weights: FlatVector, plan: TrainingPlan, offset: int, out: FlatVector
) -> FlatVector:
    """`out` = weights + fvn_std * normals read from the plan's table at `offset`; all [P]."""
    read_normals(normal_table(plan.seed), offset, out)
    scale_and_add(out, plan.fvn_std, weights, 1.0)
    return out


def sgd_step(
    state: ClientState, gradient: FlatVector, gradient_norm: float, plan: TrainingPlan
) -> None:
    """One step in place: g clipped to `clip_norm`; m = momentum m + g; w -= rate (m or g)."""
    factor = clip_factor(gradient_norm, plan.clip_norm)
    if state.momentum is None:
        add_scaled(state.weights, gradient, -plan.client_rate * factor)
    else:
        scale_and_add(state.momentum, plan.client_momentum, gradient, factor)
        add_scaled(state.weights, state.momentum, -plan.client_rate)
    state.steps += 1

"""The client's optimiser: clipped SGD with momentum, federated variational noise, FedProx.

FVN is section 4.2.2 of Guliani, Beaufays, Motta (arXiv 2010.15965): Gaussian noise is added to
the weights at every step, the gradient is taken at the noisy point and applied to the clean one.
FedProx is Li et al. 2018 (arXiv 1812.06127, section 3): the client minimises its loss plus
mu / 2 |w - w_initial|^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedvoice.algorithm.client_rules import PlannedRule, RuleState
from fedvoice.device_runtime.flat import (
    add_difference,
    add_scaled,
    clip_factor,
    norm,
    scale_and_add,
)
from fedvoice.device_runtime.layers import Layers, clip_shares
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.random import normal_table, read_table


@dataclass
class ClientState:
    """What changes from step to step, all of it in a checkpoint.

    weights: float32 [P]. momentum: float32 [P], None without momentum. rule_state: what the plan's
    client rule remembers, None without a rule; with one, vectors are replaced and never written.
    """

    weights: FlatVector
    momentum: FlatVector | None
    steps: int = 0
    examples_seen: int = 0
    loss_sum: float = 0.0
    """Sum over the examples seen of each one's loss."""
    train_secs: float = 0.0
    peak_memory_bytes: int = 0
    rule_state: RuleState | None = None

    @classmethod
    def start(
        cls, initial: FlatVector, plan: TrainingPlan, rule: PlannedRule | None = None
    ) -> ClientState:
        """Before the first step; `initial` is copied."""
        weights = initial.copy()
        if rule is not None:
            return cls(weights=weights, momentum=None, rule_state=rule.init(weights))
        momentum = np.zeros_like(initial) if plan.client_momentum > 0 else None
        return cls(weights=weights, momentum=momentum)


def optimizer_state_bytes(weights_bytes: int, plan: TrainingPlan, *, accumulates: bool) -> int:
    """Bytes beside weights, gradient and arena that local training keeps, part of mu.

    One vector of the model's size for each of: momentum, or what the plan's client rule remembers;
    the noisy weights of FVN; the sum of
    gradients of a batch that needs more than one call of the program; the initial weights that
    FedProx pulls to. Without FedProx those do not count: a phone reads them back from its blob
    cache when it takes the delta. Frozen parameters save nothing: the program computes the whole
    gradient.
    """
    rule = PlannedRule.of(plan)
    remembered = int(plan.client_momentum > 0) if rule is None else rule.state_vectors
    noise, prox = plan.fvn_std > 0, plan.prox_mu > 0
    return weights_bytes * (remembered + noise + prox + accumulates)


def noisy_weights(
    weights: FlatVector, plan: TrainingPlan, layers: Layers, offset: int, out: FlatVector
) -> FlatVector:
    """`out` = weights + std * normals read from the plan's table at `offset`; all [P].

    std is `fvn_std`, or that of each of `layers.noise`.
    """
    read_table(normal_table(plan.seed), offset, out)
    for part, std in layers.noise:
        scale_and_add(out[part], std, weights[part], 1.0)
    return out


def adjust_gradient(
    gradient: FlatVector,
    weights: FlatVector,
    initial: FlatVector,
    plan: TrainingPlan,
    layers: Layers,
) -> float:
    """Everything that the plan does to a gradient before it is a step, in place; all [P].

    In this order: g += prox_mu (weights - initial), taken at the clean weights; g = 0 for frozen
    parameters; per-layer clipping, if the plan has it (`sgd_step` does the global one).

    Returns:
        The norm before clipping; NaN or infinity if a value is.
    """
    if plan.prox_mu > 0:
        add_difference(gradient, weights, initial, plan.prox_mu)
    for part in layers.frozen:
        gradient[part] = 0
    if layers.shares:
        return clip_shares(gradient, plan.clip_norm, layers.shares)
    return norm(gradient)


def sgd_step(
    state: ClientState, gradient: FlatVector, gradient_norm: float, plan: TrainingPlan
) -> None:
    """One step in place: g clipped to `clip_norm`; m = momentum m + g; w -= rate (m or g).

    Args:
        gradient_norm: what `adjust_gradient` gave; a gradient clipped per layer is taken as it is.
    """
    factor = 1.0 if plan.clip_per_layer else clip_factor(gradient_norm, plan.clip_norm)
    if state.momentum is None:
        add_scaled(state.weights, gradient, -plan.client_rate * factor)
    else:
        scale_and_add(state.momentum, plan.client_momentum, gradient, factor)
        add_scaled(state.weights, state.momentum, -plan.client_rate)
    state.steps += 1


def rule_step(
    state: ClientState,
    gradient: FlatVector,
    gradient_norm: float,
    plan: TrainingPlan,
    rule: PlannedRule,
    layers: Layers,
) -> None:
    """One step by the plan's rule in place of `sgd_step`, after the same clipping.

    Raises:
        FedvoiceError: `bad-plugin` if the rule fails or breaks its contract.
    """
    factor = 1.0 if plan.clip_per_layer else clip_factor(gradient_norm, plan.clip_norm)
    # A vector of its own: the rule may keep it, and the engine writes into `gradient` again.
    clipped = gradient * np.float32(factor)
    state.weights, state.rule_state = rule.step(
        state.weights, clipped, state.rule_state or {}, layers.frozen
    )
    state.steps += 1


def bound_update(delta: FlatVector, plan: TrainingPlan, layers: Layers) -> float:
    """Scale `delta` [P] down to `max_update_norm`, per layer if the plan clips so, in place.

    Returns:
        The norm before; NaN or infinity if a value is.
    """
    # A hair below the bound, so that rounding does not push it over again.
    if layers.shares:
        return clip_shares(delta, plan.max_update_norm, layers.shares, margin=1e-6)
    delta_norm = norm(delta)
    factor = clip_factor(delta_norm, plan.max_update_norm)
    if factor < 1:
        delta *= np.float32(factor * (1 - 1e-6))
    return delta_norm

"""Server optimisers: pure functions over explicit state, on the round's mean delta.

The mean delta plays the part of the negative gradient (Reddi et al. 2020, "Adaptive Federated
Optimization", algorithm 2), so it is added:

    sgd    m <- beta m + delta                 w <- w + rate s_t m
    adam   m <- b1 m + (1 - b1) delta
           v <- b2 v + (1 - b2) delta^2        w <- w + rate s_t m / (sqrt(v) + epsilon)

s_t is the schedule's multiplier in round t. As in the paper Adam has no bias correction, and v
starts at epsilon^2. All vectors are float32 [P], all arithmetic elementwise and in a fixed order,
so that a restart goes on bitwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from protocol.parameters import FlatVector
from server.config import OptimizerConfig


@dataclass(frozen=True)
class OptimizerState:
    """Slots by name, each float32 [P]: `momentum` (sgd); `first`, `second` (adam)."""

    slots: Mapping[str, FlatVector] = field(default_factory=dict)


def init(config: OptimizerConfig, size: int) -> OptimizerState:
    """The state before the first round for a vector of P = `size`."""
    if config.name == "sgd":
        return OptimizerState({"momentum": np.zeros(size, dtype=np.float32)})
    return OptimizerState(
        {
            "first": np.zeros(size, dtype=np.float32),
            "second": np.full(size, config.epsilon**2, dtype=np.float32),
        }
    )


def schedule_multiplier(config: OptimizerConfig, number: int, rounds: int) -> float:
    """s_t for round `number` (from 1) of `rounds`.

    cosine: 1 in the first round, falling towards 0. warm-up: t / warm_up_rounds, then 1.
    """
    if config.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * (number - 1) / max(rounds, 1)))
    if config.schedule == "warm-up":
        return min(1.0, number / config.warm_up_rounds)
    return 1.0


def apply(
    config: OptimizerConfig,
    state: OptimizerState,
    weights: FlatVector,
    delta: FlatVector,
    *,
    number: int,
    rounds: int,
) -> tuple[FlatVector, OptimizerState]:
    """New weights [P] and state after round `number` with mean delta [P]; inputs stay as they are.

    A state made for the other optimiser is dropped: the setting was changed between two runs.
    """
    if set(state.slots) != set(init(config, 0).slots):
        state = init(config, weights.size)
    rate = np.float32(config.rate * schedule_multiplier(config, number, rounds))
    if config.name == "sgd":
        momentum = np.float32(config.momentum) * state.slots["momentum"] + delta
        return weights + rate * momentum, OptimizerState({"momentum": momentum})
    b1, b2 = (np.float32(beta) for beta in config.betas)
    one = np.float32(1)
    first = b1 * state.slots["first"] + (one - b1) * delta
    second = b2 * state.slots["second"] + (one - b2) * delta * delta
    step = (first / (np.sqrt(second) + np.float32(config.epsilon))).astype(np.float32, copy=False)
    return weights + rate * step, OptimizerState({"first": first, "second": second})

"""Server optimisers: pure functions over explicit state, on the round's mean delta.

The mean delta plays the part of the negative gradient (Reddi et al. 2020, "Adaptive Federated
Optimization", algorithm 2), so it is added:

    sgd      m <- beta m + delta              w <- w + rate s_t m
    adam     v <- b2 v + (1 - b2) delta^2     w <- w + rate s_t u
    yogi     v <- v - (1 - b2) delta^2 sign(v - delta^2)      likewise
    adagrad  v <- v + delta^2                                 likewise
    lamb     v as adam's                      w_i <- w_i + rate s_t (|w_i| / |u_i|) u_i

where m <- b1 m + (1 - b1) delta and u = m / (sqrt(v) + epsilon) in all but sgd, i counts the
model's parameters (LAMB is You et al. 2019, algorithm 2, without weight decay; a trust ratio with
a norm of 0 in it is 1), and s_t is the schedule's multiplier in round t (`algorithm/rates.py`). As
in FedOpt nothing has a bias correction, LAMB neither, and v starts at epsilon^2.

All vectors are float32 [P], all arithmetic elementwise and in a fixed order, norms apart: those
are float64 sums of one parameter, in numpy's own order. So a restart goes on bitwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fedvoice.algorithm.rates import rate_multiplier
from fedvoice.algorithm.settings import OptimizerConfig
from fedvoice.protocol.parameters import (
    FlatVector,
    Float32Array,
    ParameterTable,
)

_ONE = np.float32(1)

Grow = Callable[[FlatVector, FlatVector, np.float32], FlatVector]
"""(v, delta^2, b2) -> the next v."""


@dataclass(frozen=True)
class OptimizerState:
    """Slots by name, each float32 [P]: `momentum` (sgd); `first` and `second` (adam, yogi, lamb)
    or `sum` (adagrad), m and v above."""

    slots: Mapping[str, FlatVector] = field(default_factory=dict)


def _decayed(second: FlatVector, square: FlatVector, b2: np.float32) -> FlatVector:
    return b2 * second + (_ONE - b2) * square


def _towards(second: FlatVector, square: FlatVector, b2: np.float32) -> FlatVector:
    change: FlatVector = (_ONE - b2) * square * np.sign(second - square)
    return second - change


def _summed(second: FlatVector, square: FlatVector, b2: np.float32) -> FlatVector:
    return second + square


_ADAPTIVE: dict[str, tuple[str, Grow]] = {
    "adam": ("second", _decayed),
    "yogi": ("second", _towards),
    # Another slot: a sum over all rounds would be a wrong start for a running mean, and back.
    "adagrad": ("sum", _summed),
    "lamb": ("second", _decayed),
}
"""The slot that holds v, and how v grows."""


def init(config: OptimizerConfig, table: ParameterTable) -> OptimizerState:
    """The state before the first round."""
    zeros = np.zeros(table.total_size, dtype=np.float32)
    if config.name == "sgd":
        return OptimizerState({"momentum": zeros})
    slot, _ = _ADAPTIVE[config.name]
    start = np.full(table.total_size, config.epsilon**2, dtype=np.float32)
    return OptimizerState({"first": zeros, slot: start})


def apply(
    config: OptimizerConfig,
    state: OptimizerState,
    weights: FlatVector,
    delta: FlatVector,
    *,
    table: ParameterTable,
    number: int,
    rounds: int,
) -> tuple[FlatVector, OptimizerState]:
    """New weights [P] and state after round `number` with mean delta [P]; inputs stay as they are.

    A state that has not this optimiser's slots is dropped: the setting was changed between two
    runs. Between Adam, Yogi and LAMB it is taken over, as their slots mean the same.
    """
    if set(state.slots) != _slots(config):
        state = init(config, table)
    rate = np.float32(config.rate * rate_multiplier(config, number, rounds))
    if config.name == "sgd":
        momentum = np.float32(config.momentum) * state.slots["momentum"] + delta
        return weights + rate * momentum, OptimizerState({"momentum": momentum})
    slot, grow = _ADAPTIVE[config.name]
    b1, b2 = (np.float32(beta) for beta in config.betas)
    first = b1 * state.slots["first"] + (_ONE - b1) * delta
    second = grow(state.slots[slot], delta * delta, b2)
    step = (first / (np.sqrt(second) + np.float32(config.epsilon))).astype(np.float32, copy=False)
    if config.name == "lamb":
        _scale_to_weights(step, weights, table)
    return weights + rate * step, OptimizerState({"first": first, slot: second})


def _slots(config: OptimizerConfig) -> set[str]:
    return {"momentum"} if config.name == "sgd" else {"first", _ADAPTIVE[config.name][0]}


def _scale_to_weights(step: FlatVector, weights: FlatVector, table: ParameterTable) -> None:
    """Give every parameter's part of `step` [P] the norm of its weights, in place."""
    for part, weight in zip(table.views(step), table.views(weights), strict=True):
        step_norm, weight_norm = _norm(part), _norm(weight)
        if step_norm > 0 and weight_norm > 0:
            part *= np.float32(weight_norm / step_norm)


def _norm(values: Float32Array) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).sum()))

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
are float64 sums of one parameter, in numpy's own order. So a resumed run has the same bits.

`init` and `apply` find the optimiser that the settings name, built in or plugged in, and call it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fedvoice.algorithm.doors import SERVER_OPTIMIZERS
from fedvoice.algorithm.rates import rate_multiplier
from fedvoice.algorithm.settings import OptimizerConfig
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector, Float32Array, ParameterTable, read_only

_ONE = np.float32(1)

Grow = Callable[[FlatVector, FlatVector, np.float32], FlatVector]
"""(v, delta^2, b2) -> the next v."""


@dataclass(frozen=True)
class OptimizerState:
    """Slots by name, each float32 [P]: `momentum` (sgd); `first` and `second` (adam, yogi, lamb)
    or `sum` (adagrad), m and v above; a plug-in's own."""

    slots: Mapping[str, FlatVector] = field(default_factory=dict)


class ServerOptimiser(Protocol):
    """A server optimiser: pure functions on flat vectors. Its whole state lies in its
    slots, which the store and checkpoints keep; a class is made without arguments."""

    def init(self, config: OptimizerConfig, table: ParameterTable) -> OptimizerState:
        """The state before the first round; its slots, float32 [P], always have these names."""

    def apply(
        self,
        config: OptimizerConfig,
        state: OptimizerState,
        weights: FlatVector,
        delta: FlatVector,
        *,
        rate: float,
        table: ParameterTable,
    ) -> tuple[FlatVector, OptimizerState]:
        """New weights [P] and state for the round's mean delta [P]. Vectors are given read-only;
        what is returned may share memory with them.

        Args:
            config: the settings, with this optimiser's own in `options`.
            rate: the settings' rate by the schedule's multiplier in this round.
        """


def init(config: OptimizerConfig, table: ParameterTable) -> OptimizerState:
    """The state before the first round.

    Raises:
        FedvoiceError: `bad-plugin` if the optimiser cannot be loaded, or fails.
    """
    optimiser = _named(config.name)
    with SERVER_OPTIMIZERS.naming(config.name):
        state = optimiser.init(config, table)
        _check(config.name, {f"slot {k}": v for k, v in state.slots.items()}, table)
    return state


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

    A state without this optimiser's slots is dropped: the setting was changed between two
    runs. Between Adam, Yogi and LAMB it is taken over, as their slots mean the same.

    Raises:
        FedvoiceError: `bad-plugin` if the optimiser cannot be loaded, fails, or writes into what
            it is given.
    """
    optimiser = _named(config.name)
    fresh = init(config, table)
    if set(state.slots) != set(fresh.slots):
        state = fresh
    rate = config.rate * rate_multiplier(config, number, rounds)
    with SERVER_OPTIMIZERS.naming(config.name):
        held = OptimizerState({key: read_only(slot) for key, slot in state.slots.items()})
        weights, state = optimiser.apply(
            config, held, read_only(weights), read_only(delta), rate=rate, table=table
        )
        made = {"weights": weights, **{f"slot {k}": v for k, v in state.slots.items()}}
        _check(config.name, made, table)
    return weights, state


def _named(name: str) -> ServerOptimiser:
    plugin = SERVER_OPTIMIZERS.get(name)
    with SERVER_OPTIMIZERS.naming(name):
        made: ServerOptimiser = plugin() if isinstance(plugin, type) else plugin
    return made


def _check(name: str, made: Mapping[str, FlatVector], table: ParameterTable) -> None:
    for what, vector in made.items():
        if vector.dtype != np.float32 or vector.shape != (table.total_size,):
            raise FedvoiceError(
                ErrorCode.BAD_PLUGIN,
                where=f"server optimiser {name}, {what}",
                got=f"{vector.dtype} {vector.shape}",
                wanted=f"float32 ({table.total_size},)",
                next_step="Return vectors of the model's size, computed in float32.",
            )


class _Sgd:
    def init(self, config: OptimizerConfig, table: ParameterTable) -> OptimizerState:
        return OptimizerState({"momentum": np.zeros(table.total_size, dtype=np.float32)})

    def apply(
        self,
        config: OptimizerConfig,
        state: OptimizerState,
        weights: FlatVector,
        delta: FlatVector,
        *,
        rate: float,
        table: ParameterTable,
    ) -> tuple[FlatVector, OptimizerState]:
        momentum = np.float32(config.momentum) * state.slots["momentum"] + delta
        return weights + np.float32(rate) * momentum, OptimizerState({"momentum": momentum})


@dataclass(frozen=True)
class _Adaptive:
    """slot: the one that holds v. grow: how v grows. by_layer: LAMB's trust ratio."""

    slot: str
    grow: Grow
    by_layer: bool = False

    def init(self, config: OptimizerConfig, table: ParameterTable) -> OptimizerState:
        start = np.full(table.total_size, config.epsilon**2, dtype=np.float32)
        first = np.zeros(table.total_size, dtype=np.float32)
        return OptimizerState({"first": first, self.slot: start})

    def apply(
        self,
        config: OptimizerConfig,
        state: OptimizerState,
        weights: FlatVector,
        delta: FlatVector,
        *,
        rate: float,
        table: ParameterTable,
    ) -> tuple[FlatVector, OptimizerState]:
        b1, b2 = (np.float32(beta) for beta in config.betas)
        first = b1 * state.slots["first"] + (_ONE - b1) * delta
        second = self.grow(state.slots[self.slot], delta * delta, b2)
        root = np.sqrt(second) + np.float32(config.epsilon)
        step = (first / root).astype(np.float32, copy=False)
        if self.by_layer:
            _scale_to_weights(step, weights, table)
        slots = {"first": first, self.slot: second}
        return weights + np.float32(rate) * step, OptimizerState(slots)


def _decayed(second: FlatVector, square: FlatVector, b2: np.float32) -> FlatVector:
    return b2 * second + (_ONE - b2) * square


def _towards(second: FlatVector, square: FlatVector, b2: np.float32) -> FlatVector:
    change: FlatVector = (_ONE - b2) * square * np.sign(second - square)
    return second - change


def _summed(second: FlatVector, square: FlatVector, b2: np.float32) -> FlatVector:
    return second + square


SGD = _Sgd()
ADAM = _Adaptive("second", _decayed)
YOGI = _Adaptive("second", _towards)
# A separate slot: a sum over rounds and a running mean cannot continue each other.
ADAGRAD = _Adaptive("sum", _summed)
LAMB = _Adaptive("second", _decayed, by_layer=True)


def _scale_to_weights(step: FlatVector, weights: FlatVector, table: ParameterTable) -> None:
    """Give every parameter's part of `step` [P] the norm of its weights, in place."""
    for part, weight in zip(table.views(step), table.views(weights), strict=True):
        step_norm, weight_norm = _norm(part), _norm(weight)
        if step_norm > 0 and weight_norm > 0:
            part *= np.float32(weight_norm / step_norm)


def _norm(values: Float32Array) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).sum()))

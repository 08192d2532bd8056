"""Client rules (a door): how a client steps, as pure functions on flat vectors.

A rule is written once, in operators and in-place-free arithmetic on arrays float32 [..., P]: a
phone calls it with [P], the batched engine with a leading client axis [K, P] of numpy arrays. Only
the last axis is the model's; norms are taken along it. What a rule remembers is in its state, a
dict of arrays of the weights' shape, which checkpoints keep by name.

    rule = make_rule("sgd", {"rate": 0.1, "momentum": 0.9})
    state = rule.init(weights)
    weights, state = rule.step(weights, gradient, state)

A phone says at check-in which rules it has; one that lacks a plan's rule gets no assignment. (No
plan names a rule yet: phones and the fast engine step with optimisers of their own, which do the
same as `sgd` here, clipping, FVN and FedProx apart.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from fedvoice.algorithm.doors import CLIENT_RULES
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import Float32Array

RuleState = Mapping[str, Float32Array]
"""Arrays float32 [..., P] by name."""


class ClientRule(Protocol):
    """The door's contract. Arguments stay as they are."""

    def init(self, weights: Float32Array) -> RuleState:
        """Before the first step, at weights float32 [..., P]."""

    def step(
        self, weights: Float32Array, gradient: Float32Array, state: RuleState
    ) -> tuple[Float32Array, RuleState]:
        """New weights and state, all float32 [..., P], after one batch's mean gradient."""


class SgdMomentum:
    """m <- momentum m + g; w <- w - rate m. Without momentum it remembers nothing.

    Args:
        rate: above 0. momentum: 0 to below 1.
    """

    def __init__(self, rate: float, momentum: float = 0.0) -> None:
        if not (rate > 0 and 0 <= momentum < 1):
            raise ValueError("rate above 0 and momentum in [0, 1)")
        self._rate, self._momentum = np.float32(rate), np.float32(momentum)

    def init(self, weights: Float32Array) -> RuleState:
        """See `ClientRule`."""
        return {"momentum": np.zeros_like(weights)} if self._momentum > 0 else {}

    def step(
        self, weights: Float32Array, gradient: Float32Array, state: RuleState
    ) -> tuple[Float32Array, RuleState]:
        """See `ClientRule`."""
        if "momentum" not in state:
            return weights - self._rate * gradient, state
        momentum = self._momentum * state["momentum"] + gradient
        return weights - self._rate * momentum, {"momentum": momentum}


def make_rule(name: str, options: Mapping[str, Any]) -> ClientRule:
    """The rule that a name means, made with its options.

    Raises:
        FedvoiceError: `bad-plugin` if it cannot be had; `bad-config` for options it does not take.
    """
    factory = CLIENT_RULES.get(name)
    with CLIENT_RULES.naming(name):
        try:
            made: ClientRule = factory(**options)
        except (TypeError, ValueError) as error:
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where=f"client rule {name}, options",
                got=f"{dict(options)} ({error})",
                wanted="options that the rule takes",
                next_step="Correct the options.",
            ) from error
    return made


def checked_step(
    name: str, rule: ClientRule, weights: Float32Array, gradient: Float32Array, state: RuleState
) -> tuple[Float32Array, RuleState]:
    """`rule.step`, held to its contract: what engines call.

    Raises:
        FedvoiceError: `bad-plugin` if the rule fails, or changes a shape or dtype.
    """
    with CLIENT_RULES.naming(name):
        stepped, after = rule.step(weights, gradient, state)
    for what, array in {"weights": stepped, **after}.items():
        if array.shape != weights.shape or array.dtype != np.float32:
            raise FedvoiceError(
                ErrorCode.BAD_PLUGIN,
                where=f"client rule {name}, {what}",
                got=f"{array.dtype} {array.shape}",
                wanted=f"float32 {weights.shape}",
                next_step="Return arrays of the shapes that came.",
            )
    return stepped, after

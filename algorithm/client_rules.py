"""Client rules (a door): how a client steps, as pure functions on flat vectors.

A rule is written once, in operators and in-place-free arithmetic on arrays float32 [..., P]: a
phone calls it with [P], the batched engine with a leading client axis [K, P] of numpy arrays. Only
the last axis is the model's; norms are taken along it. What a rule remembers is in its state, a
dict of arrays of the weights' shape, which checkpoints keep by name.

    rule = make_rule("sgd", {"rate": 0.1, "momentum": 0.9})
    state = rule.init(weights)
    weights, state = rule.step(weights, gradient, state)

A plan names a rule (`client_rule`, `client_rule_options`); it takes the place of the engines' own
SGD with momentum. Everything around the step stays: FVN, FedProx, frozen parameters and clipping
come before it, the bound on the update after it. A phone says at check-in which rules it has; one
that lacks a plan's rule gets no assignment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fedvoice.algorithm.doors import CLIENT_RULES
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import Float32Array, read_only
from fedvoice.protocol.plan import TrainingPlan

RuleState = Mapping[str, Float32Array]
"""Arrays float32 [..., P] by name."""


class ClientRule(Protocol):
    """The door's contract. Arguments stay as they are (engines hand them out read-only); what is
    returned may share memory with them."""

    def init(self, weights: Float32Array) -> RuleState:
        """Before the first step, at weights float32 [..., P]; any P."""

    def step(
        self, weights: Float32Array, gradient: Float32Array, state: RuleState
    ) -> tuple[Float32Array, RuleState]:
        """New weights and state, all float32 [..., P], after one batch's mean gradient. The state
        has the names that `init` gave it."""


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
    made: ClientRule = CLIENT_RULES.make(name, options)
    return made


def checked_init(name: str, rule: ClientRule, weights: Float32Array) -> RuleState:
    """`rule.init`, held to its contract: what engines call.

    Raises:
        FedvoiceError: `bad-plugin` if the rule fails, or gives another shape or dtype.
    """
    with CLIENT_RULES.naming(name), np.errstate(all="ignore"):
        state = rule.init(read_only(weights))
        _check(name, weights, state)
    return state


def checked_step(
    name: str, rule: ClientRule, weights: Float32Array, gradient: Float32Array, state: RuleState
) -> tuple[Float32Array, RuleState]:
    """`rule.step`, held to its contract: what engines call. Numbers that overflow are the engine's
    to see.

    Raises:
        FedvoiceError: `bad-plugin` if the rule fails, writes into its arguments, or changes a
            shape, a dtype or the names of its state.
    """
    with CLIENT_RULES.naming(name), np.errstate(all="ignore"):
        held = {key: read_only(array) for key, array in state.items()}
        stepped, after = rule.step(read_only(weights), read_only(gradient), held)
        _check(name, weights, {"weights": stepped})
        _check(name, weights, after)
    if set(after) != set(state):
        raise _broken(name, "state", str(sorted(after)), str(sorted(state)))
    return stepped, after


@dataclass(frozen=True)
class PlannedRule:
    """A plan's rule, as engines call it."""

    name: str
    rule: ClientRule

    @classmethod
    def of(cls, plan: TrainingPlan) -> PlannedRule | None:
        """The rule that `plan` names; None if it names none.

        Raises:
            FedvoiceError: as `make_rule`.
        """
        if not plan.client_rule:
            return None
        return cls(plan.client_rule, make_rule(plan.client_rule, dict(plan.client_rule_options)))

    @property
    def state_vectors(self) -> int:
        """Vectors of the model's size that the rule remembers."""
        return len(self.init(np.zeros(1, np.float32)))

    def init(self, weights: Float32Array) -> RuleState:
        """See `checked_init`."""
        return checked_init(self.name, self.rule, weights)

    def step(
        self,
        weights: Float32Array,
        gradient: Float32Array,
        state: RuleState,
        frozen: Sequence[slice] = (),
    ) -> tuple[Float32Array, RuleState]:
        """See `checked_step`. The new weights own their memory and can be written; in the parts
        `frozen` of the last axis they are the old ones, whatever the rule does (weight decay moves
        weights without a gradient).

        The rule may keep `weights` and `gradient` in its state: do not write into them again.
        """
        stepped, after = checked_step(self.name, self.rule, weights, gradient, state)
        stepped = np.require(stepped, requirements=["C", "O", "W"])
        for part in frozen:
            stepped[..., part] = weights[..., part]
        return stepped, after


def _check(name: str, weights: Float32Array, found: RuleState) -> None:
    for what, array in found.items():
        if array.shape != weights.shape or array.dtype != np.float32:
            got, wanted = f"{array.dtype} {array.shape}", f"float32 {weights.shape}"
            raise _broken(name, what, got, wanted)


def _broken(name: str, what: str, got: str, wanted: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_PLUGIN,
        where=f"client rule {name}, {what}",
        got=got,
        wanted=wanted,
        next_step="Return weights and state of the shapes and names that came.",
    )

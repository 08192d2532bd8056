"""A client rule is written once: a leading client axis changes no bit of what a client computes."""

from __future__ import annotations

import numpy as np
import pytest

from fedvoice.algorithm.client_rules import ClientRule, checked_step, make_rule
from fedvoice.protocol.errors import ErrorCode, FedvoiceError


@pytest.mark.parametrize("options", [{"rate": 0.1}, {"rate": 0.1, "momentum": 0.9}], ids=str)
def test_clients_stepped_together_get_the_bits_of_clients_stepped_alone(
    options: dict[str, float],
) -> None:
    rule = make_rule("sgd", options)
    random = np.random.default_rng(3)
    weights = random.normal(size=(5, 33)).astype(np.float32)
    gradients = random.normal(size=(4, 5, 33)).astype(np.float32)
    together, state = weights, rule.init(weights)
    for gradient in gradients:
        together, state = checked_step("sgd", rule, together, gradient, state)
    for client in range(5):
        alone, own = weights[client], rule.init(weights[client])
        for gradient in gradients:
            alone, own = checked_step("sgd", rule, alone, gradient[client], own)
        assert alone.tobytes() == together[client].tobytes()


class Widening(ClientRule):
    """Returns float64."""

    def init(self, weights):
        return {}

    def step(self, weights, gradient, state):
        return weights.astype(np.float64), state


def test_a_rule_that_breaks_its_contract_and_options_it_does_not_take_are_named() -> None:
    name = f"{__name__}:Widening"
    vector = np.ones(3, np.float32)
    with pytest.raises(FedvoiceError, match="Widening") as caught:
        checked_step(name, make_rule(name, {}), vector, vector, {})
    assert caught.value.code is ErrorCode.BAD_PLUGIN
    with pytest.raises(FedvoiceError, match="bad-config"):
        make_rule("sgd", {"rate": -1.0})

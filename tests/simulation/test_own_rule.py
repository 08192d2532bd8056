"""`fedvoice.simulate` with a client rule of one's own."""

from __future__ import annotations

import numpy as np
import pytest

import fedvoice
from fedvoice.protocol.errors import FedvoiceError
from tests.own_rules import Anchored

RANDOM = np.random.default_rng(0)
DATA = {
    f"client{c}": [
        (RANDOM.normal(size=(1, 4)).astype("f4") + word, ["no", "yes"][word])
        for word in (0, 1, 0, 1)
    ]
    for c in range(4)
}
OPTIONS = {"rate": 0.2}


def simulate(**more):
    fields = {
        "rounds": 2,
        "cohort_size": 3,
        "plan": {"batch_size": 2},
        "task": {
            "features": {"mel_bins": 4, "stack": 1},
            "vocabulary": {"kind": "word", "tokens": ["no", "yes"]},
            "buckets": [{"frames": 1, "labels": 1, "batch": 2}],
        },
    }
    return fedvoice.simulate(DATA, {"kind": "2nn", "hidden_size": 3}, **{**fields, **more})


def test_a_rule_is_a_class_a_name_or_a_table_and_serves_any_number_of_workers():
    plain = simulate()
    ways = [
        {"client_rule": {"name": Anchored, **OPTIONS}},
        {"client_rule": {"name": "tests.own_rules:Anchored", **OPTIONS}, "workers": 2},
        {"plan": {"batch_size": 2, "client_rule": "tests.own_rules:Anchored"}
         | {"client_rule_options": OPTIONS}},
    ]  # fmt: skip
    results = [simulate(**way).weights.tobytes() for way in ways]
    assert len(set(results)) == 1
    assert results[0] != plain.weights.tobytes()


@pytest.mark.parametrize("rule", ["nobody's", {"name": "sgd"}, {"name": "sgd", "rate": [1]}])
def test_a_rule_that_cannot_be_had_is_refused_before_anything_is_made(rule):
    with pytest.raises(FedvoiceError):
        simulate(client_rule=rule)

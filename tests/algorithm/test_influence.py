"""How much one client may change the model: caps and bounds, without I/O."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvoice.algorithm.federated import FederatedAlgorithm
from fedvoice.algorithm.influence import (
    FEWEST,
    NO_NORMS,
    WINDOW,
    Influence,
    NormHistory,
    norm_bound,
    weight_cap,
)
from fedvoice.algorithm.rounds import Work
from fedvoice.algorithm.schedule import rules_for
from fedvoice.algorithm.settings import AlgorithmConfig
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.plan import TrainingPlan

cohorts = st.lists(st.integers(1, 2**31 - 1), min_size=FEWEST, max_size=40)
shares = st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.3, 0.5, 0.9])
norms = st.lists(st.floats(0, 1e6), min_size=FEWEST, max_size=9)


@given(cohorts, shares)
def test_no_client_has_more_than_its_share_and_the_cap_is_the_largest_such(declared, share):
    cap = weight_cap(declared, share)
    least = max(Fraction(share), Fraction(1, len(declared)))  # an equal share is always allowed

    def within(most: int) -> bool:
        return most <= least * sum(min(own, most) for own in declared)

    assert cap >= 1
    assert within(cap)
    assert not within(cap + 1)


@given(cohorts, shares, st.randoms())
def test_law_1_the_order_of_the_clients_does_not_matter(declared, share, random):
    shuffled = list(declared)
    random.shuffle(shuffled)
    assert weight_cap(shuffled, share) == weight_cap(declared, share)


@given(st.integers(1, 2**31 - 1), st.integers(FEWEST, 100), shares)
def test_equal_clients_are_untouched(examples, clients, share):
    cap = Influence(weight_cap([examples] * clients, share))
    assert cap.weight(examples, examples) == examples


@given(cohorts, shares, st.integers(1, 1000))
def test_whoever_declares_more_than_the_cap_raises_it_no_further(declared, share, more):
    cap = weight_cap(declared, share)
    largest = max(declared)
    if largest > cap:
        bolder = [own + more if own == largest else own for own in declared]
        assert weight_cap(bolder, share) == cap


@pytest.mark.parametrize(
    ("declared", "share", "count", "cap"),
    [
        ([10] * 9 + [2**31 - 1], 0.25, None, 30),  # 30 of 120
        ([10] * 9 + [2**31 - 1], 0.25, 9, 26),  # one of the ten will be too late
        ([10] * 10, 0.25, None, 25),
        ([10] * 1000, 0.25, 10, 25),  # whoever comes, ten will
        ([10] * 4, 0.25, None, 0),
        ([10] * 1000, 0.25, 4, 0),
        ([10] * 10, 1.0, None, 0),
        ([], 0.25, 10, 0),
        ([1, 2, 3, 4, 5], 0.01, None, 1),
    ],
)
def test_caps_by_hand(declared, share, count, cap):
    assert weight_cap(declared, share, count) == cap


@pytest.mark.parametrize(
    ("declared", "cap", "weight"),
    [(10, 30, 10), (99, 30, 30), (99, 0, 65), (0, 0, 65), (0, 30, 30)],
)
def test_the_weight_is_the_least_of_what_was_reported_declared_and_allowed(declared, cap, weight):
    assert Influence(cap).weight(65, declared) == weight


@given(st.lists(norms, max_size=6), st.randoms())
def test_law_1_the_bound_depends_on_the_sets_of_norms_alone(by_round, random):
    one = other = NO_NORMS
    for own in by_round:
        shuffled = list(own)
        random.shuffle(shuffled)
        one, other = one.after(own), other.after(shuffled)
    assert one == other
    assert len(one.norms) == min(WINDOW, len(by_round))


def test_the_bound_is_a_multiple_of_the_median_and_doubles_with_each_abandoned_round():
    history = NO_NORMS
    assert norm_bound(history.norms, 10.0) == 0.0
    history = history.after([1.0, 2.0, 3.0, 4.0, 100.0])
    assert norm_bound(history.norms, 10.0) == 30.0
    assert norm_bound(history.norms, 0.0) == 0.0
    few = history.after([7.0] * 4)
    assert few == history  # four norms say nothing
    for wanted in (60.0, 120.0):
        history = history.after(None)
        assert norm_bound(history.norms, 10.0, history.abandoned) == wanted
    assert history.after([5.0] * 5).abandoned == 0
    assert norm_bound(history.norms, 10.0, 10**6) < float("inf")


def test_norms_of_more_than_three_rounds_ago_are_forgotten():
    history = NO_NORMS
    for norm in (1000.0, 1.0, 2.0, 3.0):
        history = history.after([norm] * 5)
    assert norm_bound(history.norms, 10.0) == 20.0


def algorithm(**config) -> FederatedAlgorithm:
    table = ParameterTable.from_shapes([("w", (4,))])
    return FederatedAlgorithm(
        AlgorithmConfig.model_validate(config), table, TrainingPlan(data_limit=50)
    )


def test_a_round_begins_with_both_limits_and_no_declared_number_is_beyond_the_plan():
    own = algorithm(cohort_size=10)
    rules = rules_for(own.config, "job", 2, Work.TRAIN)
    history = NormHistory(((1.0,) * 5,))
    ids = [str(i) for i in range(10)]
    started = own.started(rules, 7.0, ids, [10] * 9 + [2**31 - 1], history)
    assert (started.weight_cap, started.norm_bound) == (30, 10.0)
    # L = 50: nobody's update counts more, so ten of 1000 examples are ten of 50.
    assert own.started(rules, 7.0, ids, [1000] * 10, history).weight_cap == 125
    of_four = own.started(rules, 7.0, ids[:4], [10] * 4, history)
    assert (of_four.weight_cap, of_four.norm_bound) == (0, 0.0)


def test_an_honest_client_of_a_warm_up_is_within_the_bound():
    config = {"cohort_size": 5, "rounds": 40}
    own = algorithm(plan_schedule={"client_rate": {"warm_up_rounds": 20}}, **config)
    history = NO_NORMS
    for number in range(1, 41):
        rules = rules_for(own.config, "job", number, Work.TRAIN)
        started = own.started(rules, 0.0, list("abcde"), [1] * 5, history)
        norm = own.plan_for(number).client_rate  # one step at a gradient of norm 1
        assert started.norm_bound == 0.0 or norm <= started.norm_bound / 5
        history = history.after([norm] * 5)

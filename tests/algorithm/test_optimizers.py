"""Server optimisers by hand, on two parameters of two numbers each."""

from __future__ import annotations

import numpy as np
import pytest

from fedvoice.algorithm.optimizers import OptimizerState, apply, init
from fedvoice.algorithm.settings import OptimizerConfig
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector, ParameterTable

TABLE = ParameterTable.from_shapes([("one", (4,)), ("two", (2, 2))])
W = np.array([1, 2, 0, 2, 0, 0, 3, 4], np.float32)
DELTA = np.array([0.5, -1, 0, 0, 0.25, 0, 0, 0], np.float32)
ADAPTIVE = ("adam", "yogi", "adagrad", "lamb")


def one_round(
    config: OptimizerConfig,
    state: OptimizerState | None = None,
    weights: FlatVector = W,
    number: int = 1,
) -> tuple[FlatVector, OptimizerState]:
    before = state or init(config, TABLE)
    return apply(config, before, weights, DELTA, table=TABLE, number=number, rounds=9)


def test_plain_averaging_is_sgd_with_rate_one_and_no_momentum():
    weights, _ = one_round(OptimizerConfig(rate=1.0, momentum=0.0))
    np.testing.assert_array_equal(weights, [1.5, 1, 0, 2, 0.25, 0, 3, 4])


def test_momentum_adds_up():
    config = OptimizerConfig(rate=0.5, momentum=0.5)
    weights, state = one_round(config)
    np.testing.assert_array_equal(weights[:2], [1.25, 1.5])
    weights, state = one_round(config, state, weights, number=2)
    # m = 0.5 * (0.5, -1) + (0.5, -1) = (0.75, -1.5)
    np.testing.assert_array_equal(state.slots["momentum"][:2], [0.75, -1.5])
    np.testing.assert_array_equal(weights[:2], [1.625, 0.75])


@pytest.mark.parametrize(
    ("name", "second"),
    [
        # From 0.25 = epsilon^2, with delta^2 = (0.25, 1) and 0.0625 in the second parameter.
        ("adam", [0.99 * 0.25 + 0.0025, 0.99 * 0.25 + 0.01, 0.99 * 0.25 + 0.01 * 0.0625]),
        # sign(v - delta^2) is 0, -1 and 1.
        ("yogi", [0.25, 0.25 + 0.01, 0.25 - 0.01 * 0.0625]),
        ("adagrad", [0.5, 1.25, 0.3125]),
    ],
)
def test_adaptive_optimisers_follow_fedopt_without_bias_correction(name, second):
    config = OptimizerConfig(name=name, rate=0.1, betas=(0.9, 0.99), epsilon=0.5)
    weights, state = one_round(config)
    moved = [0, 1, 4]
    first = 0.1 * DELTA[moved]
    slot = state.slots["sum" if name == "adagrad" else "second"]
    np.testing.assert_allclose(state.slots["first"][moved], first, rtol=1e-6)
    np.testing.assert_allclose(slot[moved], second, rtol=1e-6)
    wanted = W[moved] + 0.1 * first / (np.sqrt(second) + 0.5)
    np.testing.assert_allclose(weights[moved], wanted, rtol=1e-6)


def test_yogi_forgets_a_large_delta_more_slowly_than_adam():
    """After one large delta and then none, Adam's v decays by b2; Yogi's stays what it is."""
    after = {}
    for name in ("adam", "yogi"):
        config = OptimizerConfig(name=name, betas=(0.9, 0.5))
        _, state = one_round(config)
        large = state.slots["second"].copy()
        still = np.zeros_like(W)
        _, state = apply(config, state, W, still, table=TABLE, number=2, rounds=9)
        after[name] = state.slots["second"][1] / large[1]
    assert after == {"adam": 0.5, "yogi": 1.0}


def test_adagrad_steps_fall_as_one_over_the_root_of_the_rounds():
    config = OptimizerConfig(name="adagrad", rate=1.0, betas=(0.0, 0.9), epsilon=1e-6)
    weights, state, moves = W, None, []
    for number in range(1, 5):
        after, state = one_round(config, state, weights, number)
        moves.append(after[0] - weights[0])
        weights = after
    np.testing.assert_allclose(moves, 1 / np.sqrt([1, 2, 3, 4]), rtol=1e-3)


def test_lamb_moves_every_parameter_by_the_same_part_of_its_norm():
    config = OptimizerConfig(name="lamb", rate=0.1)
    weights, _ = one_round(config)
    moved = weights - W
    for at, weight_norm in ((slice(0, 4), 3), (slice(4, 8), 5)):  # |1 2 0 2|, |0 0 3 4|
        assert np.linalg.norm(moved[at]) == pytest.approx(0.1 * weight_norm, rel=1e-6)
    adam = one_round(OptimizerConfig(name="adam", rate=0.1))[0] - W
    for at in (slice(0, 4), slice(4, 8)):
        cosine = moved[at] @ adam[at] / np.linalg.norm(moved[at]) / np.linalg.norm(adam[at])
        assert cosine == pytest.approx(1, abs=1e-6)


def test_lamb_steps_as_adam_from_weights_of_zero_and_not_at_all_without_a_delta():
    weights = W.copy()
    weights[:4] = 0
    lamb, _ = one_round(OptimizerConfig(name="lamb"), weights=weights)
    adam, _ = one_round(OptimizerConfig(name="adam"), weights=weights)
    np.testing.assert_array_equal(lamb[:4], adam[:4])
    config = OptimizerConfig(name="lamb")
    still = np.zeros_like(W)
    after, _ = apply(config, init(config, TABLE), W, still, table=TABLE, number=1, rounds=9)
    np.testing.assert_array_equal(after, W)


@pytest.mark.parametrize("name", ["sgd", *ADAPTIVE])
def test_nothing_given_is_changed_and_everything_stays_float32(name):
    config = OptimizerConfig(name=name)
    state = init(config, TABLE)
    before = {key: slot.copy() for key, slot in state.slots.items()}
    given = W.copy(), DELTA.copy()
    weights, after = one_round(config, state)
    np.testing.assert_array_equal((W, DELTA), given)
    for key, slot in before.items():
        np.testing.assert_array_equal(state.slots[key], slot)
    assert weights.dtype == np.float32
    assert set(after.slots) == set(before)
    assert {slot.dtype for slot in after.slots.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", ["sgd", *ADAPTIVE])
def test_the_padding_stays_zero(name):
    """An odd parameter leaves the vector's end to nobody."""
    table = ParameterTable.from_shapes([("odd", (5,))])
    weights = np.array([1, 2, 3, 4, 5, 0, 0, 0], np.float32)
    delta = np.array([1, -1, 1, -1, 1, 0, 0, 0], np.float32)
    config = OptimizerConfig(name=name)
    after, _ = apply(config, init(config, table), weights, delta, table=table, number=1, rounds=9)
    assert np.all(after[:5] != weights[:5])
    np.testing.assert_array_equal(after[5:], 0)


def test_the_rate_follows_its_schedule():
    config = OptimizerConfig(rate=1.0, momentum=0.0, warm_up_rounds=4)
    moved = [(one_round(config, number=n)[0] - W)[4] for n in (1, 2, 4, 9)]
    np.testing.assert_array_equal(moved, [0.0625, 0.125, 0.25, 0.25])


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ("sgd", "adam", False),
        ("adam", "adagrad", False),
        ("adagrad", "lamb", False),
        ("adam", "yogi", True),
    ],
)
def test_a_state_is_taken_over_where_its_slots_mean_the_same(old, new, kept):
    _, state = one_round(OptimizerConfig(name=old))
    config = OptimizerConfig(name=new)
    _, resumed = one_round(config, state)
    _, afresh = one_round(config)
    assert set(resumed.slots) == set(init(config, TABLE).slots)
    slot = next(iter(afresh.slots))
    assert np.array_equal(resumed.slots[slot], afresh.slots[slot]) is not kept


class Raising:
    """A user's optimiser with a mistake."""

    def init(self, config, table):
        return OptimizerState()

    def apply(self, config, state, weights, delta, *, rate, table):
        return weights / config.options["missing"], state


class Doubling(Raising):
    """Another mistake: it returns float64."""

    def apply(self, config, state, weights, delta, *, rate, table):
        return weights.astype(np.float64), state


@pytest.mark.parametrize("plugin", [Raising, Doubling])
def test_a_plugged_in_optimiser_that_fails_is_named(plugin):
    with pytest.raises(FedvoiceError) as caught:
        one_round(OptimizerConfig(name=f"{__name__}:{plugin.__name__}"))
    assert caught.value.code is ErrorCode.BAD_PLUGIN
    assert plugin.__name__ in caught.value.where


class IntoWeights(Raising):
    """Writes into the round's weights, and into whatever else it is given."""

    target = "weights"

    def init(self, config, table):
        return OptimizerState({"memory": np.zeros(table.total_size, np.float32)})

    def apply(self, config, state, weights, delta, *, rate, table):
        given = {"weights": weights, "delta": delta, "slot": state.slots["memory"]}
        given[self.target] += np.float32(1)
        return weights, state


class IntoDelta(IntoWeights):
    target = "delta"


class IntoSlot(IntoWeights):
    target = "slot"


class Keeping(IntoWeights):
    """Returns what it was given, as a pure function may."""

    def apply(self, config, state, weights, delta, *, rate, table):
        return weights, OptimizerState({"memory": delta})


@pytest.mark.parametrize("plugin", [IntoWeights, IntoDelta, IntoSlot])
def test_a_plugged_in_optimiser_that_writes_into_what_it_is_given_is_refused(plugin):
    """Else every round's weights would be one array, and a failure would leave them half-done."""
    config = OptimizerConfig(name=f"{__name__}:{plugin.__name__}")
    state = init(config, TABLE)
    weights, delta = W.copy(), DELTA.copy()
    with pytest.raises(FedvoiceError) as caught:
        apply(config, state, weights, delta, table=TABLE, number=1, rounds=9)
    assert caught.value.code is ErrorCode.BAD_PLUGIN
    assert plugin.__name__ in caught.value.where
    np.testing.assert_array_equal((weights, delta), (W, DELTA))
    assert not state.slots["memory"].any()


def test_an_optimiser_may_return_what_it_was_given():
    weights, state = one_round(OptimizerConfig(name=f"{__name__}:Keeping"))
    np.testing.assert_array_equal(weights, W)
    np.testing.assert_array_equal(state.slots["memory"], DELTA)

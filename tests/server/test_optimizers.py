"""Server optimisers by hand, on two numbers."""

from __future__ import annotations

import numpy as np
import pytest

from server.config import OptimizerConfig
from server.optimizers import OptimizerState, apply, init, schedule_multiplier

W = np.array([1.0, 2.0], np.float32)
DELTA = np.array([0.5, -1.0], np.float32)


def test_plain_averaging_is_sgd_with_rate_one_and_no_momentum():
    config = OptimizerConfig(rate=1.0, momentum=0.0)
    weights, _ = apply(config, init(config, 2), W, DELTA, number=1, rounds=9)
    np.testing.assert_array_equal(weights, [1.5, 1.0])


def test_momentum_adds_up():
    config = OptimizerConfig(rate=0.5, momentum=0.5)
    weights, state = apply(config, init(config, 2), W, DELTA, number=1, rounds=9)
    np.testing.assert_array_equal(weights, [1.25, 1.5])
    weights, state = apply(config, state, weights, DELTA, number=2, rounds=9)
    # m = 0.5 * (0.5, -1) + (0.5, -1) = (0.75, -1.5)
    np.testing.assert_array_equal(state.slots["momentum"], [0.75, -1.5])
    np.testing.assert_array_equal(weights, [1.625, 0.75])


def test_adam_follows_fedopt_without_bias_correction():
    config = OptimizerConfig(name="adam", rate=0.1, betas=(0.9, 0.99), epsilon=0.5)
    weights, state = apply(config, init(config, 2), W, DELTA, number=1, rounds=9)
    first = 0.1 * DELTA
    second = 0.99 * 0.25 + 0.01 * DELTA**2
    np.testing.assert_allclose(state.slots["first"], first, rtol=1e-6)
    np.testing.assert_allclose(state.slots["second"], second, rtol=1e-6)
    np.testing.assert_allclose(weights, W + 0.1 * first / (np.sqrt(second) + 0.5), rtol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_nothing_given_is_changed_and_everything_stays_float32(name):
    config = OptimizerConfig(name=name)
    state = init(config, 2)
    before = {key: slot.copy() for key, slot in state.slots.items()}
    weights, after = apply(config, state, W, DELTA, number=1, rounds=9)
    np.testing.assert_array_equal(W, [1.0, 2.0])
    for key, slot in before.items():
        np.testing.assert_array_equal(state.slots[key], slot)
    assert weights.dtype == np.float32
    assert {slot.dtype for slot in after.slots.values()} == {np.dtype(np.float32)}


def test_schedules():
    def of(name, number):
        config = OptimizerConfig(schedule=name, warm_up_rounds=4)
        return schedule_multiplier(config, number, 10)

    assert [of("constant", n) for n in (1, 10)] == [1.0, 1.0]
    assert [of("warm-up", n) for n in (1, 2, 4, 9)] == [0.25, 0.5, 1.0, 1.0]
    assert of("cosine", 1) == 1.0
    assert of("cosine", 6) == pytest.approx(0.5)
    assert 0 < of("cosine", 10) < 0.03


def test_a_state_of_another_optimizer_is_not_taken_over():
    sgd, adam = OptimizerConfig(), OptimizerConfig(name="adam")
    _, state = apply(adam, init(sgd, 2), W, DELTA, number=1, rounds=9)
    assert set(state.slots) == {"first", "second"}
    assert isinstance(state, OptimizerState)

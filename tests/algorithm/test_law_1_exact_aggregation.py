"""Law 1: the mean depends on the set of updates alone. Every comparison here is bitwise."""

from __future__ import annotations

import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedvoice.algorithm.aggregation import CHUNK_ELEMENTS, Accumulator, inspect

SIZE = 5
BOUND = 16.0
GRID_BITS = 32

WAYS = (0.0, BOUND)
"""`max_abs` of an accumulator: the plain way, and the one that is as exact and faster."""
deltas = hnp.arrays(np.float32, SIZE, elements=st.floats(-BOUND, BOUND, width=32, allow_nan=False))
updates = st.lists(st.tuples(deltas, st.integers(1, 65536)), min_size=1, max_size=12)


def fold_all(items) -> Accumulator:
    accumulator = Accumulator(SIZE, grid_bits=GRID_BITS)
    for delta, weight in items:
        accumulator.fold([delta], weight)
    return accumulator


def bits(accumulator: Accumulator) -> bytes:
    return accumulator.mean().tobytes()


@given(updates, st.randoms())
def test_law_1_any_order_gives_the_same_bits(items, random):
    shuffled = list(items)
    random.shuffle(shuffled)
    assert bits(fold_all(items)) == bits(fold_all(shuffled))


@given(updates, st.data())
def test_law_1_any_tree_gives_the_same_bits(items, data):
    leaves = [fold_all([item]) for item in items]
    while len(leaves) > 1:
        i = data.draw(st.integers(0, len(leaves) - 2))
        leaves[i].merge(leaves.pop(i + 1))
    assert bits(leaves[0]) == bits(fold_all(items))


@settings(max_examples=20)
@given(updates)
def test_law_1_any_number_of_threads_gives_the_same_bits(items):
    accumulator = Accumulator(SIZE, grid_bits=GRID_BITS)
    threads = [
        threading.Thread(target=accumulator.fold, args=([delta], weight)) for delta, weight in items
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bits(accumulator) == bits(fold_all(items))


@given(updates)
def test_law_1_the_mean_is_the_exact_one_within_half_a_grid_step(items):
    mean = fold_all(items).mean()
    total = sum(weight for _, weight in items)
    for i in range(SIZE):
        exact = sum(Fraction(float(delta[i])) * weight for delta, weight in items) / total
        half_step = Fraction(1, 2 ** (GRID_BITS + 1))
        rounding = Fraction(float(np.spacing(np.float32(abs(float(exact)) or 1e-30))))
        assert abs(Fraction(float(mean[i])) - exact) <= half_step + rounding


def test_law_1_one_float32_sum_would_have_depended_on_the_order():
    # The control: the plain float32 sum of the same three numbers does depend on it.
    a, b, c = np.float32(8), np.float32(2**-22), np.float32(-8)
    assert (a + b) + c != (a + c) + b
    one_way = fold_all([(np.full(SIZE, v, np.float32), 1) for v in (a, b, c)])
    other_way = fold_all([(np.full(SIZE, v, np.float32), 1) for v in (a, c, b)])
    assert bits(one_way) == bits(other_way)
    np.testing.assert_allclose(one_way.mean(), np.float32(2**-22 / 3), rtol=1e-3)


def test_pieces_of_any_length_give_the_same_sum():
    size = CHUNK_ELEMENTS + 10
    delta = np.linspace(-1, 1, size, dtype=np.float32)
    whole, pieces = (Accumulator(size, grid_bits=GRID_BITS) for _ in range(2))
    whole.fold([delta], 7)
    pieces.fold([delta[:3], delta[3 : CHUNK_ELEMENTS + 5], delta[CHUNK_ELEMENTS + 5 :]], 7)
    assert whole.mean().tobytes() == pieces.mean().tobytes()


def test_the_largest_sum_that_the_settings_allow_does_not_overflow():
    # 2^4 * 2^16 * 2^10 clients * 2^32 = 2^62
    accumulator = Accumulator(1, grid_bits=32)
    accumulator.fold([np.array([16.0], np.float32)], 65536)
    for _ in range(10):
        twin = Accumulator(1, grid_bits=32)
        twin.merge(accumulator)
        accumulator.merge(twin)
    assert accumulator.count == 1024
    assert accumulator.mean() == np.float32(16.0)


@given(updates, st.booleans())
def test_law_1_both_ways_of_rounding_give_the_same_bits(items, cut):
    items.append(
        (np.array([BOUND, -BOUND, 2.0**-33, 3 * 2.0**-33, -(2.0**-33)], np.float32), 65536)
    )
    plain, magic = (Accumulator(SIZE, grid_bits=GRID_BITS, max_abs=bound) for bound in WAYS)
    for delta, weight in items:
        plain.fold([delta], weight)
        magic.fold([delta[:2], delta[2:]] if cut else [delta], weight)
    assert bits(plain) == bits(magic)
    whole = magic.empty()
    whole.merge(magic)
    assert bits(whole) == bits(plain)


@pytest.mark.parametrize(
    ("value", "found"), [(np.nan, None), (-np.inf, None), (16.5, 16.5), (3e38, 3e38), (16.0, 0.0)]
)
def test_an_inspection_with_a_bound_finds_what_is_above_it(value, found):
    update = np.zeros(3 * CHUNK_ELEMENTS + 5, np.float32)
    update[CHUNK_ELEMENTS + 7] = value
    facts = inspect([update], bound=16.0)
    assert facts.finite == (found is not None)
    if found is not None:
        assert facts.max_abs == np.float32(found)
        assert facts.norm == pytest.approx(value, rel=1e-6)


def test_a_bound_changes_the_norm_by_less_than_the_plans_slack():
    update = np.random.default_rng(0).normal(0, 1e-3, 1_000_001).astype(np.float32)
    exact, quick = inspect([update]), inspect([update], bound=16.0)
    assert quick.norm == pytest.approx(exact.norm, rel=1e-6)
    assert (quick.max_abs, exact.max_abs) == (0.0, float(np.abs(update).max()))

"""Philox4x32-10 against its authors' known answers, and the draws built upon it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvoice.protocol.random import (
    TABLE_SIZE,
    Purpose,
    Stream,
    normal_table,
    philox_blocks,
    philox_rounds,
    read_table,
    uniform_table,
)

# From kat_vectors of the authors' Random123 distribution: counter, key, result.
KNOWN_ANSWERS = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_gives_the_published_words(counter, key, expected):
    words = tuple(np.array([word], dtype=np.uint64) for word in counter)
    assert tuple(int(w) for w in philox_rounds(words, key)[0]) == expected


def test_a_stream_can_be_entered_at_any_block():
    whole = philox_blocks((1, 2), 0, 10)
    assert np.array_equal(philox_blocks((1, 2), 7, 3), whole[7:])


def test_streams_differ_by_each_part_of_their_name():
    streams = [
        Stream(0, "a", 1, Purpose.SHUFFLE),
        Stream(1, "a", 1, Purpose.SHUFFLE),
        Stream(0, "b", 1, Purpose.SHUFFLE),
        Stream(0, "a", 2, Purpose.SHUFFLE),
        Stream(0, "a", 1, Purpose.NOISE),
    ]
    assert len({tuple(stream.words(4)) for stream in streams}) == len(streams)


@given(st.integers(0, 2**32), st.integers(0, 60))
def test_permutations_hold_every_element_once(seed, count):
    order = Stream(seed, "c", 3, Purpose.SHUFFLE).permutation(count)
    assert sorted(order) == list(range(count))


def test_below_stays_below_and_reaches_every_value():
    stream = Stream(5, "c", 0, Purpose.DATA_LIMIT)
    assert {stream.below(6) for _ in range(200)} == set(range(6))


def test_the_normal_table_is_standard_normal_and_read_round_its_end():
    table = normal_table(11)
    assert abs(float(table.mean())) < 0.005
    assert abs(float(table.std()) - 1) < 0.005
    out = read_table(table, TABLE_SIZE - 2, np.empty(5, dtype=np.float32))
    assert np.array_equal(out, np.concatenate([table[-2:], table[:3]]))


def test_the_uniform_table_lies_in_0_to_1_on_a_grid_that_float32_holds():
    table = uniform_table(11)
    assert table.dtype == np.float32
    assert 0 <= table.min() < 1e-5
    assert 1 - 1e-5 < table.max() < 1
    assert abs(float(table.mean()) - 0.5) < 0.002
    assert np.array_equal(table * 2.0**24, np.round(table.astype(np.float64) * 2.0**24))
    words = Stream(11, "", 0, Purpose.UNIFORM_TABLE).words(2)
    assert table[:2].tolist() == [int(word >> 8) / 2**24 for word in words]

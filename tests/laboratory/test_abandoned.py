"""Runs whose rounds were abandoned: some are fine, all are no result."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.reporting.results import RoundResult
from fedvoice.simulation.abandoned import STUCK_ROUNDS, see_that_updates_count, stuck
from tests.laboratory.test_outcomes import an_outcome

ROW = an_outcome(9).results.rounds[0]


def rows(*ends: str) -> list[RoundResult]:
    return [replace(ROW, round=number, end=end) for number, end in enumerate(ends)]


@pytest.mark.parametrize(
    "ends",
    [
        (),
        ("initial, ",),
        ("initial, ", "abandoned, too-few", "committed, goal", "abandoned, too-few"),
        ("initial, ", "committed, timeout"),
        ("", "central"),
    ],
)
def test_one_committed_round_is_enough(ends: tuple[str, ...]) -> None:
    see_that_updates_count("trial x", rows(*ends), {"diverged": 9})


@pytest.mark.parametrize(
    ("refused", "told", "way_out"),
    [
        ({"diverged": 4, "no usable example": 2}, "6 were refused, most often", "clip_norm"),
        ({"diverged": 1, "no usable example": 5}, "no usable example (5)", "buckets"),
        ({"too many examples": 3}, "3 were refused", "data_limit"),
        ({}, "abandoned with: nobody", "hold fewer speakers out"),
    ],
)
def test_a_run_without_a_committed_round_says_what_was_the_matter_and_the_way_out(
    refused: dict[str, int], told: str, way_out: str
) -> None:
    abandoned = rows("initial, ", "abandoned, nobody", "abandoned, nobody")
    with pytest.raises(FedvoiceError) as caught:
        see_that_updates_count("trial x", abandoned, refused)
    assert caught.value.code is ErrorCode.NO_UPDATES
    assert "2 rounds, 0 updates accepted" in caught.value.got
    assert told in caught.value.got
    assert way_out in caught.value.next_step


def test_a_run_is_stuck_when_no_update_counted_for_many_rounds() -> None:
    nothing = [replace(row, clients=0) for row in rows(*["abandoned, too-few"] * STUCK_ROUNDS)]
    assert stuck([*rows("initial, ", "committed, goal"), *nothing])
    assert not stuck(nothing[1:])
    assert not stuck([*nothing, *rows("committed, goal")])
    assert not stuck([*nothing[1:], replace(ROW, end="abandoned, too-few", clients=1)])

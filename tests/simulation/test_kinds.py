"""How many phones of each kind, and which they are."""

import pytest

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.simulation.fleet.kinds import Kind, assign_kinds, kinds_of, parse_counts

P, A = Kind.PYTHON, Kind.ANDROID


@pytest.mark.parametrize(
    ("counts", "android"),
    [
        ({}, 0),
        ({P: 6, A: 4}, 4),
        ({A: 4}, 4),
        ({P: 7}, 3),
        ({P: None, A: 4}, 4),
        ({A: None}, 10),
        ({P: 2, A: None}, 8),
        ({P: 10}, 0),
        ({A: 0}, 0),
    ],
)
def test_numbers_given_and_the_rest(counts, android):
    kinds = assign_kinds(counts, 10, seed=1)
    assert (len(kinds), kinds.count(A)) == (10, android)


@pytest.mark.parametrize("counts", [{P: 6, A: 5}, {P: 6, A: 3}, {A: 11}])
def test_numbers_that_do_not_add_up_are_named(counts):
    with pytest.raises(FedvoiceError, match="10 phones") as caught:
        assign_kinds(counts, 10, seed=1)
    assert caught.value.code is ErrorCode.BAD_CONFIG
    assert "*" in caught.value.next_step


def test_who_is_which_is_drawn_from_the_seed():
    names = [f"phone-{i}" for i in range(30)]
    drawn = [kinds_of(names, {A: 5}, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_command_lines_form():
    assert parse_counts("python=30, android=4") == {"python": 30, "android": 4}
    assert parse_counts("android=*") == {"android": "*"}
    for text in ("", "foo=3", "python", "python=-1", "python=1,python=2", "android=x"):
        with pytest.raises(FedvoiceError) as caught:
            parse_counts(text)
        assert caught.value.code is ErrorCode.BAD_CONFIG

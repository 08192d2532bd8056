"""A result that never left 100 % says what is usual then."""

from fedvoice.reporting.advice import never_learned


def test_only_a_run_that_never_left_100_percent_is_explained():
    assert never_learned([]) is None
    assert never_learned([100.0, 98.0]) is None
    said = never_learned([100.0, 112.5, 100.0])
    assert said is not None
    assert "data check" in said

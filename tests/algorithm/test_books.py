"""Law 7: one place folds the costs, and its two sides agree where the formula holds."""

from __future__ import annotations

import pytest

from fedvoice.algorithm.books import Costs, FormulaTerms, account
from fedvoice.protocol.generated import fedvoice_pb2 as pb


def counts(examples: int, steps: int, loss: float = 1.0) -> pb.Statistics:
    return pb.Statistics(
        examples=examples, steps=steps, loss=loss, planned_memory_bytes=10, peak_memory_bytes=7
    )


def test_law_7_full_batches_cost_what_the_formula_says_and_rounds_add_up() -> None:
    costs = Costs()
    for number in (1, 2, 3):
        row = account(
            costs,
            [counts(4, 2, loss=1.0), counts(12, 6, loss=2.0)],
            bytes_down=200,
            bytes_up=100,
            alpha=0.5,
            formula=FormulaTerms(payload_bytes=150.0, local_epochs=1, batch_size=2),
        )
        costs = row.costs
        assert costs.measured.total_bytes == number * (300 + 0.5 * 8 * 10)
        assert costs.analytic.total_bytes == pytest.approx(costs.measured.total_bytes)
        assert (row.loss, row.steps, row.examples, row.clients) == (1.75, 8, 16, 2)
        assert (row.planned_memory_bytes, row.peak_memory_bytes) == (10, 7)


def test_a_round_without_accepted_updates_costs_what_was_moved() -> None:
    formula = FormulaTerms(0.0, 1, 2)
    row = account(Costs(), [], bytes_down=5, bytes_up=0, alpha=1.0, formula=formula)
    assert (row.loss, row.costs.measured.total_bytes) == (None, 5)
    assert row.costs.analytic.total_bytes == 0


def test_training_that_no_formula_describes_has_its_measure_on_both_sides() -> None:
    row = account(Costs(), [counts(5, 3)], bytes_down=0, bytes_up=0, alpha=2.0, formula=None)
    assert row.costs.analytic == row.costs.measured
    assert row.costs.measured.total_bytes == 60

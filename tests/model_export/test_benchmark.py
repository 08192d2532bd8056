"""What the benchmark says without a clock: the memory of one training step."""

from __future__ import annotations

import pytest

from benchmarks.train_step import MODELS, measure
from fedvoice.model_export.kinds import build_model
from fedvoice.model_export.package import parameter_table


@pytest.mark.slow
def test_a_step_of_two_million_parameters_trains_in_45_megabytes() -> None:
    result = measure("rnnt-2m", threads=1, steps=3)
    config, vocabulary, _ = MODELS["rnnt-2m"]
    table = parameter_table(build_model(config, 320, vocabulary))
    assert table.parameter_count == result["parameters"] > 2_300_000
    # Weights and arena; the gradient lies in the arena.
    assert result["training_bytes"] == table.weights_bytes + result["arena_bytes"]
    assert result["training_bytes"] <= 45_000_000
    assert result["gradient_error"] <= 2e-4

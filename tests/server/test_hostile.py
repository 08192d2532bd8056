"""Hostile inputs to a real server process, a few thousand of them (the benchmark sends 100,000)."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.hostile import HONEST, measure

pytestmark = pytest.mark.slow


def test_hostile_inputs_harm_nobody(tmp_path: Path) -> None:
    found = measure(tmp_path, inputs=3000, threads=3, seed=7)
    assert found["crashes"] == 0
    assert found["unhandled"] == 0, found["codes"]
    assert found["accepted_nonsense"] == 0
    assert found["honest_finished"]
    assert found["honest_updates"] >= HONEST
    # They get further than the decoding of messages, and into reports.
    assert found["decoded_share"] >= 0.5
    codes = set(found["codes"])
    for call in ("check_in", "fetch", "status", "report", "enrol", "renew"):
        assert f"{call} INVALID_ARGUMENT" in codes
    assert {"check_in OK", "status OK", "report OK", "renew OK", "fetch NOT_FOUND"} <= codes
    # Another's name, and guessed tokens.
    assert {"check_in PERMISSION_DENIED", "enrol PERMISSION_DENIED"} <= codes
    assert "enrol RESOURCE_EXHAUSTED" in codes
    reached = {"ACCEPTED", "UNKNOWN_ASSIGNMENT", "WRONG_SHAPE", "INVALID_STATISTICS"}
    assert {f"VERDICT_{name}" for name in reached} <= set(found["verdicts"])

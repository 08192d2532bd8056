"""Folders of runs and experiments that 0.1.0 wrote are read, reported again and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedvoice.laboratory.experiment.config import load_experiment
from fedvoice.protocol.task import load_package, load_weights
from fedvoice.reporting.results import read_results
from tests.compatibility.conftest import Run, read_json

MEASURED = {"wall_secs", "peak_memory_bytes"}


def test_results_are_read_and_reported_again(copy_of: Callable[..., Path], fedvoice: Run) -> None:
    folder = copy_of("run", "runs", "features")
    results = read_results(folder / "run")
    fields = read_json(folder / "run" / "results.json")
    assert [row.round for row in results.rounds] == list(range(1, 9))
    assert [row.loss for row in results.rounds] == [row["loss"] for row in fields["rounds"]]
    assert results.final == fields["final"]
    table = load_package(folder / "run" / "task").manifest.parameters
    assert load_weights(folder / "run" / "weights.safetensors", table).size == table.total_size

    done = fedvoice("report", "run", "runs/tiny")
    assert done.stdout.split() == ["run/report.html", "runs/tiny/report.html"]
    assert "<svg" in (folder / "run" / "report.html").read_text()
    page = (folder / "runs" / "tiny" / "report.html").read_text()
    assert "Three words as features" in page


@pytest.mark.slow
@pytest.mark.usefixtures("same_exporter")
def test_a_simulation_that_was_stopped_is_resumed(
    copy_of: Callable[..., Path], fedvoice: Run
) -> None:
    folder = copy_of("stopped", "run", "corpus", "simulation.toml")
    before = read_results(folder / "stopped").rounds
    assert 0 < len(before) < 8
    done = fedvoice("simulate", "--config", "simulation.toml", "--out", "stopped")
    assert "going on" in done.stdout or "resum" in done.stdout
    after, whole = (read_results(folder / name) for name in ("stopped", "run"))
    assert after.final["complete"]
    # What was done is not done again, and what follows is what 0.1.0 came to.
    kept = len(before)
    assert [row.wall_secs for row in after.rounds[:kept]] == [row.wall_secs for row in before]
    for row, other in zip(after.rounds, whole.rounds, strict=True):
        assert (row.round, row.clients, row.steps) == (other.round, other.clients, other.steps)
        assert row.loss == pytest.approx(other.loss, rel=1e-2)


@pytest.mark.slow
def test_a_finished_trial_is_found_and_an_unfinished_one_is_resumed(
    copy_of: Callable[..., Path], fedvoice: Run
) -> None:
    folder = copy_of("runs", "features", "experiment.toml", "experiment.json")
    facts, trials = read_json(folder / "experiment.json"), folder / "runs" / "cells"
    # With other versions of the libraries the same trial has another digest.
    toml = Path("experiment.toml")
    names = [cell.digest[:20] for cell in load_experiment(toml).trials(str(toml))]
    for digest, name in zip(facts["cells"], names, strict=True):
        (trials / digest[:20]).rename(trials / name)
    finished, unfinished = (trials / name for name in names)
    before = (finished / "results.json").read_bytes()
    assert (unfinished / "state.npz").is_file()
    assert not (unfinished / "results.json").exists()

    plan = fedvoice("experiment", "run", "experiment.toml", "--dry-run")
    assert "1 of 2 to do" in plan.stdout
    fedvoice("experiment", "run", "experiment.toml")
    assert (finished / "results.json").read_bytes() == before
    assert not (unfinished / "state.npz").exists()
    got, wanted = read_json(unfinished / "results.json"), facts["results"]
    assert len(got["rounds"]) == len(wanted["rounds"]) == 6
    # The first three rounds were done: their seconds are those of then.
    assert got["rounds"][:3] == wanted["rounds"][:3]
    for row, other in zip(got["rounds"], wanted["rounds"], strict=True):
        check_close(row, other)
    for name in ("wer", "heldout_wer", "pooled"):
        assert got["final"][name] == wanted["final"][name]

    # The report of both, the finished one's older figures among them.
    with (folder / "runs" / "tiny" / "trials.csv").open() as file:
        assert len(file.readlines()) == 3


def check_close(row: dict[str, Any], other: dict[str, Any]) -> None:
    """Every figure of 0.1.0, but for what is measured, to the last bits of the arithmetic."""
    for name, value in other.items():
        if name not in MEASURED:
            same = pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
            assert row[name] == same, name

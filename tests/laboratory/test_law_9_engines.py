"""Law 9: one trial on emulated phones with a real server, on the phone's trainer in one process,
and on the fast engine: the same cohorts, steps and memory, and the same model within rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedvoice.laboratory.experiment.config import load_experiment
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.task import WEIGHTS_FILE, load_weights
from fedvoice.simulation.populations import export_config
from fedvoice.simulation.settings import EngineKind
from fedvoice.simulation.tasks import exported_task
from tests.laboratory.running import run_trial
from tests.shared import once

pytestmark = [pytest.mark.slow]

# Phones with unequal numbers of examples: who is in a cohort shows in its examples and steps.
SETTINGS = {
    "export": True,
    "data.partition": "dirichlet",
    "data.clients": 6,
    "plan.fvn_std": 0.01,
    "plan.client_momentum": 0.5,
    "plan.spec_augment": {"time_masks": 1, "time_mask_frames": 8},
    "server.cohort_size": 2,
}


@pytest.fixture
def tasks_dir(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the exported task of these trials."""
    settings = load_experiment(experiment, SETTINGS).trials("f")[0].settings
    export = export_config(settings.data, settings.task, "experiment")

    def make(folder: Path) -> None:
        exported_task(export, folder, lambda what: None)

    return once(tmp_path_factory, "laboratory-tasks", make)


def test_law_9_phones_and_both_engines_come_to_the_same_model(
    experiment: Path, tmp_path: Path, tasks_dir: Path
) -> None:
    trials = {
        kind: load_experiment(experiment, {**SETTINGS, "engine": kind.value}).trials("f")[0]
        for kind in (EngineKind.PHONES, EngineKind.EXECUTORCH, EngineKind.FAST)
    }
    settings = trials[EngineKind.FAST].settings
    export = export_config(settings.data, settings.task, "experiment")
    task = exported_task(export, tasks_dir, lambda what: None)
    outcomes: dict[EngineKind, Outcome] = {}
    deltas: dict[EngineKind, FlatVector] = {}
    for kind, trial in trials.items():
        folder = tmp_path / kind.value
        outcomes[kind] = run_trial(trial, folder, tasks_dir, lambda progress: None, lambda: False)
        weights = load_weights(folder / WEIGHTS_FILE, task.manifest.parameters)
        deltas[kind] = weights - task.initial_weights(trial.seed)

    phones = outcomes[EngineKind.PHONES].results.rounds
    assert len({row.examples for row in phones}) > 1
    moved = np.linalg.norm(deltas[EngineKind.PHONES])
    for kind in (EngineKind.EXECUTORCH, EngineKind.FAST):
        rows = outcomes[kind].results.rounds
        for name in ("round", "clients", "examples", "steps", "memory_bytes"):
            assert [getattr(r, name) for r in rows] == [getattr(r, name) for r in phones], name
        assert rows[-1].cfmq_compute_bytes == phones[-1].cfmq_compute_bytes
        assert [r.loss for r in rows] == pytest.approx([r.loss for r in phones], rel=1e-4)
        # Phones make features with the program, engines with the library: they differ by rounding.
        assert np.linalg.norm(deltas[kind] - deltas[EngineKind.PHONES]) < 1e-4 * moved
        assert [p.rates for p in outcomes[kind].points] == [
            p.rates for p in outcomes[EngineKind.PHONES].points
        ]
    # The engines count weights down and updates up; the wire has check-ins and frames on top.
    in_process = outcomes[EngineKind.FAST].results.rounds[-1].cfmq_communication_bytes
    clients = sum(row.clients for row in phones)
    assert in_process == 2 * clients * task.manifest.parameters.weights_bytes
    assert in_process < phones[-1].cfmq_communication_bytes
    assert trials[EngineKind.FAST].server.rounds == len(phones) == 4


def test_law_9_emulated_phones_train_from_the_reference_that_a_simulation_trains_from(
    experiment: Path, tmp_path: Path, tasks_dir: Path
) -> None:
    rows, weights = {}, {}
    for kind in (EngineKind.PHONES, EngineKind.FAST):
        changes = {"engine": kind.value, "server.download_encoding": "float16"}
        trial = load_experiment(experiment, {**SETTINGS, **changes}).trials("f")[0]
        settings = trial.settings
        export = export_config(settings.data, settings.task, "experiment")
        task = exported_task(export, tasks_dir, lambda what: None)
        folder = tmp_path / kind.value
        outcome = run_trial(trial, folder, tasks_dir, lambda progress: None, lambda: False)
        rows[kind] = outcome.results.rounds
        weights[kind] = load_weights(folder / WEIGHTS_FILE, task.manifest.parameters)
        initial, table = task.initial_weights(trial.seed), task.manifest.parameters
    phones, fast = rows[EngineKind.PHONES], rows[EngineKind.FAST]
    for name in ("clients", "examples", "steps", "memory_bytes"):
        assert [getattr(r, name) for r in fast] == [getattr(r, name) for r in phones], name
    assert [r.loss for r in fast] == pytest.approx([r.loss for r in phones], rel=1e-3)
    # Weights that differ in a last bit may be rounded apart.
    moved = np.linalg.norm(weights[EngineKind.FAST] - initial)
    assert np.linalg.norm(weights[EngineKind.PHONES] - weights[EngineKind.FAST]) < 1e-2 * moved
    # Weights down as float16, updates up as float32.
    for row in fast:
        assert (row.bytes_down, row.bytes_up) == (
            row.clients * table.weights_bytes // 2,
            row.clients * table.weights_bytes,
        )
    for row, own in zip(phones, fast, strict=True):
        assert row.bytes_down < 0.6 * row.bytes_up
        assert own.bytes_down < row.bytes_down

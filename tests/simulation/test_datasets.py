"""Whatever a dataset yields can be trained on: files, arrays, waveforms in memory."""

from __future__ import annotations

import json
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from fedvoice.data.memory import MappingDataset
from fedvoice.laboratory.experiment.trials import Trial, TrialSettings
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.simulation.cohort import RoundWork, UpdateLimits
from fedvoice.simulation.engines import TrainerSpec
from fedvoice.simulation.fleet.config import SimulationConfig
from fedvoice.simulation.fleet.prepare import MARKER_FILE, claim_directory
from fedvoice.simulation.populations import build_population, export_config
from fedvoice.simulation.settings import EngineKind
from fedvoice.simulation.tasks import unexported_task
from fedvoice.simulation.workers.pool import WorkerSpec
from fedvoice.simulation.workers.spread import Spread
from tests.laboratory.running import run_trial

MODEL = {"kind": "ctc", "encoder": {"layers": 1, "hidden_size": 8, "bidirectional": True}}


def patterns(clients: int = 4, each: int = 6) -> MappingDataset:
    """Two words, each a pattern over six bins and some noise."""
    random = np.random.default_rng(0)
    words = {word: random.normal(size=(12, 6)) for word in ("up", "down")}
    held = {
        f"c{i}": [
            (words[word] + 0.1 * random.normal(size=(12, 6)), word) for word in ["up", "down"] * 3
        ][:each]
        for i in range(clients)
    }
    return MappingDataset(held, test={"c0": held["c0"]})


def test_a_mapping_is_learnt_in_an_experiment_of_ones_own(tmp_path: Path) -> None:
    settings = TrialSettings(
        data=patterns(),
        task={"model": MODEL, "features": {"stack": 2, "mel_bins": 6}},
        plan=TrainingPlan(batch_size=2, client_rate=1.0, clip_norm=3.0),
        server={"rounds": 12, "cohort_size": 3, "evaluate_every": 12},
        export=False,
    )
    trial = Trial("all", "all", {}, 0, settings)
    outcome = run_trial(
        trial, tmp_path / "trial", tmp_path / "tasks", lambda _: None, lambda: False
    )
    rate = outcome.figure("wer")
    assert rate is not None
    assert rate < 50
    assert outcome.results.config["data"] == settings.data.identity()


def test_worker_processes_train_a_mapping_as_this_process_does() -> None:
    dataset = patterns()
    task = unexported_task(export_config(dataset, {"model": MODEL}, "mine"))
    spec = TrainerSpec(EngineKind.FAST, task.manifest)
    source = partial(build_population, dataset, task.manifest, 0)
    work = RoundWork(
        1,
        TrainingPlan(batch_size=2, seed=0),
        task.initial_weights(0),
        UpdateLimits(grid_bits=24, max_update_abs=1e3, max_update_norm=0, max_client_examples=99),
    )
    means = []
    for workers in (1, 2):
        with closing(
            Spread(workers).pool_for(spec, source, *WorkerSpec(spec, source).make())
        ) as it:
            part = it.train(work, source().client_ids)
        assert [report.statistics.examples for report in part.reports] == [6] * 4
        means.append(part.total.mean().tobytes())
    assert means[0] == means[1]


def test_waveforms_become_features_and_ids_are_targets() -> None:
    noise = np.random.default_rng(0).normal(scale=0.1, size=16000)
    dataset = MappingDataset({"a": [(noise, [2, 1]), (noise[:8000], [3])]})
    task = unexported_task(export_config(dataset, {"model": MODEL}, "mine"))
    data = build_population(dataset, task.manifest, 0).train("a")
    features = task.manifest.features
    assert data.frames.tolist() == [features.frames(16000), features.frames(8000)]
    assert data.targets.tolist() == [[2, 1], [3, 0]]
    np.testing.assert_allclose(data.features[0].mean(0), 0, atol=1e-4)


def test_arrays_of_other_bins_than_the_tasks_are_named() -> None:
    task = unexported_task(export_config(patterns(), {"model": MODEL}, "mine"))
    other = MappingDataset({"a": [(np.ones((12, 5)), "up")]})
    with pytest.raises(FedvoiceError, match=r"an array \[12, 5\]"):
        build_population(other, task.manifest, 0).train("a")


def test_a_run_of_a_version_with_fewer_settings_is_resumed(tmp_path: Path) -> None:
    fields = {"data": {"manifest": "m.jsonl", "clients": 3, "partition": "iid"}, "task": {}}
    config = SimulationConfig.model_validate({"name": "run", **fields})
    written = json.loads(config.model_dump_json())
    assert (written["data"].pop("partition_options"), written["data"]["clients"]) == ({}, 3)
    (tmp_path / MARKER_FILE).write_text(json.dumps(written))
    assert claim_directory(config, tmp_path, overwrite=False)
    other = config.model_copy(update={"seed": 1})
    with pytest.raises(FedvoiceError, match="another configuration"):
        claim_directory(other, tmp_path, overwrite=False)


def test_phones_hold_sounds() -> None:
    with pytest.raises(ValidationError, match="phones store sound files"):
        SimulationConfig(name="run", data=patterns(), task={})

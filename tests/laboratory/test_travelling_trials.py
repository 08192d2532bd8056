"""Trials whose plug-ins a decorator registered run in worker processes, under their own digest."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from fedvoice.algorithm.doors import CLIENT_RULES, SERVER_OPTIMIZERS, UPDATE_LINKS
from fedvoice.data.memory import MappingDataset
from fedvoice.laboratory.experiment.executor import TrialJob
from fedvoice.laboratory.experiment.progress import trial_dir
from fedvoice.laboratory.experiment.runner import run_trials
from fedvoice.laboratory.experiment.trials import Trial, TrialSettings
from fedvoice.model_export.kinds import MODEL_KINDS
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.registry import Registry
from fedvoice.simulation.engines import ENGINES
from tests.laboratory import own_plugins
from tests.laboratory.test_runner import Ear
from tests.simulation.test_datasets import patterns

HERE = "tests.laboratory.own_plugins"

DOORS: tuple[Registry[Any], ...] = (
    MODEL_KINDS,
    ENGINES,
    UPDATE_LINKS,
    SERVER_OPTIMIZERS,
    CLIENT_RULES,
)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each test alone: others in this process list what is known."""
    for door in DOORS:
        monkeypatch.setattr(door, "_registered", {})
    MODEL_KINDS.register("own model")(own_plugins.OwnModel)
    ENGINES.register("own engine")(own_plugins.OwnEngine)
    UPDATE_LINKS.register("own link")(own_plugins.OwnLink)
    SERVER_OPTIMIZERS.register("own optimizer")(own_plugins.OwnOptimizer)
    CLIENT_RULES.register("own rule")(own_plugins.OwnRule)


def trial_of(
    *, model: str = "own model", engine: str = "own engine", data: MappingDataset | None = None
) -> Trial:
    server: dict[str, Any] = {
        "rounds": 1,
        "cohort_size": 2,
        "evaluate_every": 1,
        "links": [{"name": "own link", "options": {"by": "uniform"}}, {"name": "weight"}],
        "optimizer": {"name": "own optimizer", "rate": 1.0},
    }
    settings = TrialSettings(
        data=data or patterns(),
        task={"model": {"kind": model, "hidden": 4}, "features": {"stack": 1, "mel_bins": 6}},
        plan=TrainingPlan(
            batch_size=2, client_rule="own rule", client_rule_options=(("rate", 0.1),)
        ),
        server=server,
        engine=engine,
        export=False,
    )
    return Trial("own", "own", {}, 0, settings)


def sent(trial: Trial) -> Trial:
    job: TrialJob = pickle.loads(pickle.dumps(TrialJob(trial, Path("trials"))))
    return job.trial


def test_what_a_decorator_registered_is_sent_by_its_module_under_the_same_digest() -> None:
    trial = trial_of()
    there = sent(trial).settings
    assert there.task["model"] == {"kind": f"{HERE}:OwnModel", "hidden": 4}
    assert there.engine == f"{HERE}:OwnEngine"
    assert [link["name"] for link in there.server["links"]] == [f"{HERE}:OwnLink", "weight"]
    assert there.server["links"][0]["options"] == {"by": "uniform"}
    assert there.server["optimizer"] == {"name": f"{HERE}:OwnOptimizer", "rate": 1.0}
    assert there.plan.client_rule == f"{HERE}:OwnRule"
    assert trial.settings == trial_of(data=trial.settings.data).settings  # as it was
    assert sent(trial).digest == trial.digest == sent(sent(trial)).digest
    assert trial_dir(Path("t"), sent(trial)) == trial_dir(Path("t"), trial)


def test_built_in_names_stay_as_they_are() -> None:
    settings = TrialSettings(
        data=patterns(),
        task={"model": {"kind": "ctc"}},
        server={"optimizer": {"name": "adam"}, "links": [{"name": "clip"}]},
    )
    trial = Trial("all", "all", {}, 0, settings)
    there = sent(trial)
    assert there.kept_as == ""
    assert (there.settings.task, there.settings.server) == (settings.task, settings.server)
    assert (there.settings.engine, there.settings.plan) == (settings.engine, settings.plan)
    assert there.digest == trial.digest


def test_what_can_be_imported_nowhere_else_is_refused_by_name() -> None:
    class Local(own_plugins.OwnModel):
        pass

    MODEL_KINDS.register("local model")(Local)
    with pytest.raises(FedvoiceError, match="local model") as caught:
        sent(trial_of(model="local model"))
    assert caught.value.code is ErrorCode.BAD_PLUGIN


@pytest.mark.slow
def test_it_runs_in_a_worker_process_and_is_found_done(tmp_path: Path) -> None:
    trial = trial_of()
    for _ in range(2):
        ear = Ear()
        gathered = run_trials([trial], tmp_path, 1, ear)
        assert gathered.failures == []
        (outcome,) = gathered.outcomes
        assert outcome.trial is trial
        assert ear.heard == [("own", True)]
    assert trial_dir(tmp_path, trial).is_dir()

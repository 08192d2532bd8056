"""Trials in worker processes: what is heard of them, and how all of it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fedvoice.laboratory.experiment.config import load_experiment
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import TrialProgress, trial_dir
from fedvoice.laboratory.experiment.runner import Gathered, run_trials
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.simulation.checkpoint import STATE_FILE
from tests.laboratory.feature_corpus import base_toml, write_corpus

pytestmark = pytest.mark.slow


@dataclass
class Ear:
    """An `Observer` that remembers who is done; falls over at the trial `falls_at`."""

    falls_at: str = ""
    heard: list[tuple[str, bool]] = field(default_factory=list)

    def progressed(self, trial: Trial, progress: TrialProgress) -> None:
        """See `runner.Observer`."""

    def finished(self, trial: Trial, outcome: Outcome | None, error: FedvoiceError | None) -> None:
        """See `runner.Observer`."""
        self.heard.append((trial.arm, error is None))
        if trial.arm == self.falls_at:
            raise RuntimeError("a mistake in the program")


def the_trials(folder: Path, arms: str) -> list[Trial]:
    path = folder / "x.toml"
    manifest = write_corpus(folder / "corpus")
    path.write_text('name = "x"\n' + base_toml(manifest, rounds=1) + f"\n{arms}")
    return load_experiment(path).trials(str(path))


def run(trials: list[Trial], folder: Path, ear: Ear) -> Gathered:
    return run_trials(trials, folder / "trials", 1, ear)


def test_trials_that_two_arms_share_are_heard_of_once(tmp_path: Path) -> None:
    trials = the_trials(tmp_path, '[[arms]]\nname = "a"\n[[arms]]\nname = "twin"\n')
    for _ in range(2):  # run; and found done
        ear = Ear()
        gathered = run(trials, tmp_path, ear)
        assert [outcome.trial.arm for outcome in gathered.outcomes] == ["a", "twin"]
        assert ear.heard == [("a", True)]


def test_every_trial_of_a_task_that_cannot_be_made_fails_and_the_others_run(tmp_path: Path) -> None:
    wrong = 'set = { "task.model.kind" = "warp", "plan.batch_size" = %d }\n'
    arms = "".join(f'[[arms]]\nname = "wrong{i}"\n{wrong % i}' for i in (1, 2))
    trials = the_trials(tmp_path, f'{arms}[[arms]]\nname = "right"\n')
    ear = Ear()
    gathered = run(trials, tmp_path, ear)
    assert ear.heard == [("wrong1", False), ("wrong2", False), ("right", True)]
    assert [outcome.trial.arm for outcome in gathered.outcomes] == ["right"]
    assert {failure.error.code for failure in gathered.failures} == {ErrorCode.BAD_CONFIG}


def test_after_a_mistake_of_the_program_nothing_runs_on(tmp_path: Path) -> None:
    endless = '[[arms]]\nname = "endless"\nset = { "server.rounds" = 1000000 }\n'
    short, *rest = the_trials(tmp_path, f'[[arms]]\nname = "short"\n{endless}')
    with pytest.raises(RuntimeError, match="a mistake"):
        run([short, *rest], tmp_path, Ear(falls_at="short"))
    (folder,) = (trial_dir(tmp_path / "trials", trial) for trial in rest)
    assert not folder.exists() or (folder / STATE_FILE).is_file()

"""One trial in this process, heard of and stopped as a test wants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import Tell, TrialProgress
from fedvoice.laboratory.experiment.run import TrialRun
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.simulation.training import StopWhenAsked
from fedvoice.simulation.workers.spread import HERE, Spread


def run_trial(
    trial: Trial,
    folder: Path,
    tasks_dir: Path,
    report: Callable[[TrialProgress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    spread: Spread = HERE,
) -> Outcome:
    """A trial's outcome; `report` hears of its progress, `should_stop` is asked before rounds."""
    told = [Tell(report, trial.server.rounds), StopWhenAsked(should_stop)]
    return TrialRun(trial, folder, tasks_dir, told, spread).run()

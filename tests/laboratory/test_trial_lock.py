"""Two commands that want the same trial: the second one waits for the first."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from fedvoice.laboratory.experiment.kept import TRIAL_FILE
from fedvoice.laboratory.experiment.lock import held
from fedvoice.laboratory.experiment.progress import TrialProgress
from fedvoice.simulation.checkpoint import STATE_FILE
from fedvoice.simulation.training import Interrupted
from tests.laboratory.running import run_trial
from tests.laboratory.test_trials import run, the_trial

HOLD = """
import sys, time
from pathlib import Path
from fedvoice.laboratory.experiment.lock import held
with held(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    time.sleep(600)
"""


class Waiting:
    """What a trial reports; `meanwhile` happens when it is first said to wait."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile
        self.waited, self.rounds = False, list[int]()

    def __call__(self, progress: TrialProgress) -> None:
        if progress.done:
            self.rounds.append(progress.done)
        if "waits" in progress.note and not self.waited:
            self.waited = True
            self._meanwhile()


def never_taken() -> None:
    raise AssertionError("nobody else has it")


def test_who_comes_second_takes_what_the_first_comes_to(experiment: Path, tmp_path: Path) -> None:
    trial, folder = the_trial(experiment), tmp_path / "trial"
    run(trial, tmp_path / "first")
    folder.mkdir()
    with ExitStack() as first:
        first.enter_context(held(folder, never_taken))

        def finish() -> None:
            shutil.copytree(tmp_path / "first", folder, dirs_exist_ok=True)
            first.close()

        report = Waiting(finish)
        outcome = run_trial(trial, folder, tmp_path / "tasks", report, lambda: False)
    assert report.waited
    assert report.rounds == []
    assert outcome.results.rounds[-1].round == 4


def test_waiting_ends_when_all_is_to_stop(experiment: Path, tmp_path: Path) -> None:
    trial, folder = the_trial(experiment), tmp_path / "trial"
    folder.mkdir()
    stopped: list[bool] = []
    report = Waiting(lambda: stopped.append(True))
    with held(folder, never_taken), pytest.raises(Interrupted):
        run_trial(trial, folder, tmp_path / "tasks", report, lambda: bool(stopped))
    assert not (folder / STATE_FILE).exists()
    assert run(trial, folder) == [1, 2, 3, 4]  # nobody has it any more


def test_a_killed_process_holds_no_trial(experiment: Path, tmp_path: Path) -> None:
    trial, folder = the_trial(experiment), tmp_path / "trial"
    folder.mkdir()
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        report = Waiting(lambda: holder.send_signal(signal.SIGKILL))
        try:
            run_trial(trial, folder, tmp_path / "tasks", report, lambda: False)
        finally:
            holder.kill()
    assert report.waited
    assert report.rounds == [1, 2, 3, 4]
    assert (folder / TRIAL_FILE).is_file()

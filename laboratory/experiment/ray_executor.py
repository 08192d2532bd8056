"""Jobs as tasks of a Ray cluster.

A trial runs in a temporary folder of any machine, and its files are returned at its end. So
machines need no shared disk, an interrupted or lost trial starts again, and two commands that run
the same trial do not wait for each other. Corpora must have the same path on all machines. Tasks
are exported by a process of this machine.
"""

from __future__ import annotations

import os
import queue
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedvoice.laboratory.experiment.executor import Ended, Said, TrialJob
from fedvoice.laboratory.experiment.kept import TRIAL_FILE
from fedvoice.laboratory.experiment.local_executor import LocalExecutor
from fedvoice.laboratory.experiment.lock import LOCK_FILE
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import Tell, TrialProgress, trial_dir
from fedvoice.laboratory.experiment.travelling import travelling_trial
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import write_file
from fedvoice.simulation.workers.ray_pool import cause_of, go_to, load_ray

_POLL_SECS = 0.2
_TRIES = 3

Files = Mapping[str, bytes]
"""A folder's files by name."""


@dataclass(frozen=True)
class RemoteJob:
    """A job for another machine. task: folder name and files of its package; "" without one."""

    job: TrialJob
    task_name: str
    task: Files
    folder: str
    """The driver's working directory."""


class RayExecutor:
    """Trials on the cluster that this process is connected to, `at_a_time` of them."""

    def __init__(self, at_a_time: int, log_path: Path) -> None:
        from ray.util.queue import Queue

        self._ray, self._at_a_time = load_ray(), at_a_time
        self._exporter = LocalExecutor(1, log_path)
        self._messages = Queue(actor_options={"num_cpus": 0})
        self._at_work: dict[Any, TrialJob] = {}

    @property
    def free(self) -> int:
        """See `Executor`."""
        return self._at_a_time - len(self._at_work)

    def begin(self, job: TrialJob) -> None:
        """See `Executor`."""
        if job.export_only:
            self._exporter.begin(job)
            return
        from fedvoice.laboratory.experiment.run import trial_task

        sent = travelling_trial(job.trial)  # its task's folder is named by what the machines see
        package_dir = trial_task(sent, job.trials_dir / "tasks", lambda what: None).package_dir
        name, files = ("", {}) if package_dir is None else (package_dir.name, _read(package_dir))
        remote = RemoteJob(job, name, files, os.getcwd())
        # With several workers a trial itself only waits and evaluates: it needs no core.
        cores = 1 if job.spread.workers == 1 else 0
        run = self._ray.remote(num_cpus=cores, max_retries=_TRIES)(run_remote)
        self._at_work[run.remote(remote, self._messages)] = job

    def events(self) -> list[Said | Ended]:
        """See `Executor`."""
        found: list[Said | Ended] = self._exporter.events() if self._exporter.free == 0 else []
        if not self._at_work:
            return found
        done, _ = self._ray.wait(
            list(self._at_work), num_returns=len(self._at_work), timeout=_POLL_SECS
        )
        jobs = {job.trial.digest: job for job in self._at_work.values()}
        for digest, progress in self._messages.get_nowait_batch(self._messages.qsize()):
            if digest in jobs:
                found.append(Said(jobs[digest], progress))
        return found + [self._ended(self._at_work.pop(reference), reference) for reference in done]

    def close(self) -> None:
        """See `Executor`; unfinished trials are lost."""
        for reference in self._at_work:
            self._ray.cancel(reference, force=True)
        self._messages.shutdown()
        self._exporter.close()

    def _ended(self, job: TrialJob, reference: Any) -> Ended:
        try:
            files, outcome = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = cause_of(error)
            return Ended(job, error=cause if isinstance(cause, FedvoiceError) else error)
        except self._ray.exceptions.RayError as error:
            return Ended(job, error=_lost(error))
        write_files(trial_dir(job.trials_dir, job.trial), files)
        return Ended(job, outcome)


def run_remote(remote: RemoteJob, messages: Any) -> tuple[Files, Outcome | None]:
    """Run the trial from its beginning, on any machine; returns the files of its folder."""
    from fedvoice.laboratory.experiment.work import work_on

    go_to(remote.folder)

    def report(progress: TrialProgress) -> None:
        try:
            messages.put_nowait((remote.job.trial.digest, progress))
        except queue.Full:
            return

    with tempfile.TemporaryDirectory(prefix="fedvoice-trial-") as name:
        job = replace(remote.job, trials_dir=Path(name))
        if remote.task_name:
            write_files(job.trials_dir / "tasks" / remote.task_name, remote.task)
        outcome = work_on(job, [Tell(report, job.trial.server.rounds)])
        return _read(trial_dir(job.trials_dir, job.trial)), outcome


def write_files(directory: Path, files: Files) -> None:
    """Write files into a folder, `trial.json` last, since it marks the trial as finished.

    Each is replaced atomically: another command may be reading the same trial.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda name: name == TRIAL_FILE):
        write_file(directory / name, files[name], writer=f".{os.getpid()}")


def _read(directory: Path) -> Files:
    files = (p for p in directory.iterdir() if p.is_file() and p.name != LOCK_FILE)
    return {path.name: path.read_bytes() for path in files}


def _lost(error: Exception) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.CLIENT_LOST,
        where="a trial on the Ray cluster",
        got=str(error).splitlines()[0][:200],
        wanted=f"a machine that finishes it within {_TRIES + 1} tries",
        next_step="Check that the cluster's machines are up and have memory; run it again.",
    )

"""Run an experiment's unfinished trials by an executor.

    TRIALS/<digest>/       one folder a trial, shared by all experiments
    TRIALS/tasks/<key>/    exported tasks
    TRIALS/worker.log      output of the runtime and the exporter

A trial that fails does not stop the others. Ctrl-C, a killed worker or a killed parent lose at most
the training since the last checkpoint: the same command resumes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from fedvoice.data.dataset import identity_of
from fedvoice.laboratory.experiment.executor import Ended, Executor, Said, TrialJob
from fedvoice.laboratory.experiment.kept import read_outcome
from fedvoice.laboratory.experiment.local_executor import LocalExecutor
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import TrialProgress, trial_dir
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.reporting.callbacks import CallbackSpec, travelling
from fedvoice.simulation.workers.spread import HERE, Spread

WORKER_LOG = "worker.log"
_DEATHS_AT_MOST = 3


class Observer(Protocol):
    """Receives the progress and the ends of trials."""

    def progressed(self, trial: Trial, progress: TrialProgress) -> None:
        """A trial made progress."""

    def finished(self, trial: Trial, outcome: Outcome | None, error: FedvoiceError | None) -> None:
        """A trial is finished, now or earlier, or has failed."""


@dataclass(frozen=True)
class Failure:
    """A trial that failed."""

    trial: Trial
    error: FedvoiceError


@dataclass(frozen=True)
class Gathered:
    """All trials of an experiment: outcomes in the trials' order, and those that failed.
    trials_dir: where their folders are, if that is known."""

    outcomes: list[Outcome]
    failures: list[Failure]
    trials_dir: Path | None = None


def run_trials(
    trials: Sequence[Trial],
    trials_dir: Path,
    jobs: int,
    observer: Observer,
    spread: Spread = HERE,
    callbacks: Sequence[CallbackSpec] = (),
    *,
    allow_skipped: bool = False,
) -> Gathered:
    """Run the unfinished trials, `jobs` at a time; equal trials once.

    Args:
        spread: with `ray` trials run on the cluster that this process is connected to.
        callbacks: of every trial, called in the process that runs it.
        allow_skipped: run trials though a good part of their corpus is unusable.

    Raises:
        KeyboardInterrupt: after the workers have written checkpoints.
        FedvoiceError: `client-lost` if workers die repeatedly at the same trial.
    """
    batch = _Batch(trials_dir, observer, spread, travelling(callbacks), allow_skipped)
    batch.take(trials)
    if batch.waiting:
        with closing(_executor(min(jobs, len(batch.waiting)), trials_dir, spread)) as executor:
            batch.run(executor)
    return Gathered(
        # Two arms may share a trial: each has it under its own name.
        [replace(batch.outcomes[c.digest], trial=c) for c in trials if c.digest in batch.outcomes],
        list(batch.failures.values()),
    )


def _executor(jobs: int, trials_dir: Path, spread: Spread) -> Executor:
    if spread.ray:
        from fedvoice.laboratory.experiment.ray_executor import RayExecutor

        return RayExecutor(jobs, trials_dir / WORKER_LOG)
    return LocalExecutor(jobs, trials_dir / WORKER_LOG)


@dataclass
class _Batch:
    """The trials of one call, by digest."""

    trials_dir: Path
    observer: Observer
    spread: Spread
    callbacks: tuple[CallbackSpec, ...]
    allow_skipped: bool
    waiting: dict[str, Trial] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    deaths: Counter[str] = field(default_factory=Counter)

    def take(self, trials: Sequence[Trial]) -> None:
        """Load finished trials; queue the others."""
        for trial in trials:
            if trial.digest in self.outcomes:
                continue
            done = read_outcome(trial, trial_dir(self.trials_dir, trial))
            if done is None:
                self.waiting.setdefault(trial.digest, trial)
            else:
                self.outcomes[trial.digest] = done
                self.observer.finished(trial, done, None)

    def run(self, executor: Executor) -> None:
        """Export tasks one by one before any trial: two trials must not export the same one."""
        exported: set[str] = set()
        for trial in list(self.waiting.values()):
            settings = trial.settings
            key = repr(
                (identity_of(settings.data), settings.task, settings.export, settings.engine)
            )
            if key not in exported:
                # If it fails, other trials that share it fail with the same error.
                done = self._drain(executor, iter([self._job(trial, export_only=True)]))
                exported |= {key for ended in done if ended.error is None}
        self._drain(executor, (self._job(trial) for trial in list(self.waiting.values())))

    def _job(self, trial: Trial, *, export_only: bool = False) -> TrialJob:
        return TrialJob(
            trial,
            self.trials_dir,
            self.spread,
            callbacks=self.callbacks,
            export_only=export_only,
            allow_skipped=self.allow_skipped,
        )

    def _drain(self, executor: Executor, jobs: Iterator[TrialJob]) -> list[Ended]:
        """Start these jobs as places become free, until all have ended."""
        ended: list[Ended] = []
        at_work = 0
        again: list[TrialJob] = []
        following = next(jobs, None)
        while at_work or again or following is not None:
            while executor.free and (again or following is not None):
                if again:
                    executor.begin(again.pop())
                elif following is not None:
                    executor.begin(following)
                    following = next(jobs, None)
                at_work += 1
            for event in executor.events():
                if isinstance(event, Said):
                    self.observer.progressed(event.job.trial, event.progress)
                    continue
                at_work -= 1
                if event.lost and self._try_again(event.job):
                    again.append(event.job)
                else:
                    ended.append(event)
                    self._collect(event)
        return ended

    def _try_again(self, job: TrialJob) -> bool:
        self.deaths[job.trial.digest] += 1
        if self.deaths[job.trial.digest] <= _DEATHS_AT_MOST:
            return True
        raise FedvoiceError(
            ErrorCode.CLIENT_LOST,
            where="the worker processes of an experiment",
            got=f"they ended repeatedly at {job.trial.name}; the usual cause is lack of memory",
            wanted="workers that finish their trials",
            next_step=f"See {self.trials_dir / WORKER_LOG}; run with fewer --jobs: finished "
            "trials are kept.",
        )

    def _collect(self, event: Ended) -> None:
        digest, error = event.job.trial.digest, event.error
        if error is not None and not isinstance(error, FedvoiceError):
            raise error
        if error is not None:
            trial = self.waiting.pop(digest)
            self.failures[digest] = Failure(trial, error)
            self.observer.finished(trial, None, error)
        elif event.outcome is not None:
            self.outcomes[digest] = event.outcome
            self.observer.finished(self.waiting.pop(digest), event.outcome, None)

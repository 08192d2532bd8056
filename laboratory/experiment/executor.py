"""The interface of executors, which run an experiment's jobs: worker processes, or Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Protocol

from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import PruneRule, TrialProgress
from fedvoice.laboratory.experiment.travelling import travelling_trial
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.reporting.callbacks import Callback, CallbackSpec
from fedvoice.simulation.workers.spread import HERE, Spread


@dataclass(frozen=True, eq=False)
class TrialJob:
    """One trial to run; picklable, compared by identity. export_only: only export the trial's task
    and look at its corpus.
    callbacks: specifications, from which callbacks are built where the job runs."""

    trial: Trial
    trials_dir: Path
    spread: Spread = HERE
    prune: PruneRule | None = None
    callbacks: tuple[CallbackSpec, ...] = ()
    export_only: bool = False
    allow_skipped: bool = False

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the trial as other processes can run it.

        Raises:
            FedvoiceError: `bad-plugin` for a plug-in that cannot be imported elsewhere.
        """
        fields = {own.name: getattr(self, own.name) for own in dataclass_fields(self)}
        return TrialJob, tuple({**fields, "trial": travelling_trial(self.trial)}.values())


Work = Callable[[TrialJob, Sequence[Callback]], Outcome | None]
"""Runs a job in the process at hand; a module-level function, so that processes can import it."""


@dataclass(frozen=True)
class Said:
    """Progress of a job."""

    job: TrialJob
    progress: TrialProgress


@dataclass(frozen=True)
class Ended:
    """A job has ended. outcome: None for an export and for a job that was stopped or failed. error:
    the exception it raised. lost: its worker died, e.g. of lack of memory; it may be retried."""

    job: TrialJob
    outcome: Outcome | None = None
    error: Exception | None = None
    lost: bool = False


class Executor(Protocol):
    """Runs jobs, several at a time."""

    @property
    def free(self) -> int:
        """Number of jobs that may be started now."""

    def begin(self, job: TrialJob) -> None:
        """Start this job in a free place."""

    def events(self) -> list[Said | Ended]:
        """Events since the last call, after a short wait; every started job ends exactly once."""

    def close(self) -> None:
        """Stop all running jobs; local trials write checkpoints first."""

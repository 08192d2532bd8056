"""What runs an experiment's jobs somewhere: worker processes of this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import PruneRule, TrialProgress
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.reporting.callbacks import Callback, CallbackSpec
from fedvoice.simulation.workers.spread import HERE, Spread


@dataclass(frozen=True, eq=False)
class TrialJob:
    """One thing to do; picklable, and known by its identity. export_only: make the trial's task,
    and no more. callbacks: made anew where the job runs."""

    trial: Trial
    trials_dir: Path
    spread: Spread = HERE
    prune: PruneRule | None = None
    callbacks: tuple[CallbackSpec, ...] = ()
    export_only: bool = False


Work = Callable[[TrialJob, Sequence[Callback]], Outcome | None]
"""Does a job where it runs; a module's function, so that processes can import it."""


@dataclass(frozen=True)
class Said:
    """A job has come so far."""

    job: TrialJob
    progress: TrialProgress


@dataclass(frozen=True)
class Ended:
    """A job is done. outcome: None of an export, of one that was stopped, and of one that failed.
    error: what it raised, as it was raised. lost: its worker died, as out-of-memory processes do;
    it may be begun again."""

    job: TrialJob
    outcome: Outcome | None = None
    error: Exception | None = None
    lost: bool = False


class Executor(Protocol):
    """Runs jobs, some at a time."""

    @property
    def free(self) -> int:
        """Jobs that may be begun now."""

    def begin(self, job: TrialJob) -> None:
        """Give a free place this job."""

    def events(self) -> list[Said | Ended]:
        """What has happened, after a moment at most; every job begun ends once."""

    def close(self) -> None:
        """Stop what runs; trials that can keep their checkpoints."""

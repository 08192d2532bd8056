"""Running a job in a worker; loads the engines and PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

from fedvoice.laboratory.experiment.executor import TrialJob
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import Prune, trial_dir
from fedvoice.laboratory.experiment.run import TrialRun, trial_task, trial_usage
from fedvoice.reporting.callbacks import Callback, Callbacks, make_callbacks


def work_on(job: TrialJob, callbacks: Sequence[Callback]) -> Outcome | None:
    """The trial's outcome; None for an export.

    Raises:
        Interrupted, Pruned: by a callback.
        FedvoiceError: errors of the trial.
    """
    told = [*callbacks, *make_callbacks(job.callbacks)]
    tasks_dir = job.trials_dir / "tasks"
    if job.export_only:
        tell = Callbacks(told)
        task = trial_task(job.trial, tasks_dir, tell.noted)
        trial_usage(job.trial, task, tasks_dir, tell, allow_skipped=job.allow_skipped)
        return None
    if job.prune is not None:
        told.append(Prune(job.prune))
    directory = trial_dir(job.trials_dir, job.trial)
    return TrialRun(job.trial, directory, tasks_dir, told, job.spread, job.allow_skipped).run()

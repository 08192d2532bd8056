"""A job where it runs: loads the engines and PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

from fedvoice.laboratory.experiment.executor import Job
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import Prune, cell_dir
from fedvoice.laboratory.experiment.run import TrialRun, cell_task
from fedvoice.reporting.callbacks import Callback, Callbacks, make_callbacks


def work_on(job: Job, callbacks: Sequence[Callback]) -> Outcome | None:
    """The cell's outcome, or None of an export.

    Raises:
        Interrupted, Pruned: by a callback.
        FedvoiceError: what running the cell raises.
    """
    told = [*callbacks, *make_callbacks(job.callbacks)]
    tasks_dir = job.cells_dir / "tasks"
    if job.export_only:
        cell_task(job.cell, tasks_dir, Callbacks(told).noted)
        return None
    if job.prune is not None:
        told.append(Prune(job.prune))
    directory = cell_dir(job.cells_dir, job.cell)
    return TrialRun(job.cell, directory, tasks_dir, told, job.spread).run()

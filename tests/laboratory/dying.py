"""A worker that dies at its work, as one that is killed for memory does."""

import os
import signal

from fedvoice.laboratory.experiment.work import work_on

LEFT_FILE = "deaths-left"


def die_at_limited_data(job, callbacks):
    """`work_on`, killed at plans with a data limit as often as `trials_dir/deaths-left` says."""
    path = job.trials_dir / LEFT_FILE
    left = int(path.read_text())
    if job.trial.settings.plan.data_limit and left and not job.export_only:
        path.write_text(str(left - 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return work_on(job, callbacks)

"""A worker that dies at its work, as one that is killed for memory does."""

import os
import signal

from fedvoice.laboratory.experiment.runner import work_on

LEFT_FILE = "deaths-left"


def die_at_limited_data(cell, cells_dir, rule):
    """`work_on`, killed at plans with a data limit as often as `cells_dir/deaths-left` says."""
    path = cells_dir / LEFT_FILE
    left = int(path.read_text())
    if cell.settings.plan.data_limit and left:
        path.write_text(str(left - 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return work_on(cell, cells_dir, rule)

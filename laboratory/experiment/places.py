"""The folder of trials, also by its names of 0.1.0."""

from __future__ import annotations

import logging
from pathlib import Path

TRIALS_DIR = Path("runs/trials")
OLD_TRIALS_DIR = Path("runs/cells")
"""Its name in 0.1.0."""
HELP = "Folder of finished and unfinished trials, shared by all experiments; default: runs/trials."
_log = logging.getLogger("fedvoice.laboratory")


def trials_folder(given: Path | None, old: Path | None) -> Path:
    """The folder that a command works on: `--trials-dir`, or `old`, its name in 0.1.0; by default
    `runs/trials`, or `runs/cells` where only that is there."""
    if given is not None:
        return given
    if old is not None:
        _log.warning("--cells is called --trials-dir now; the next release drops the old name")
        return old
    if OLD_TRIALS_DIR.is_dir() and not TRIALS_DIR.is_dir():
        _log.warning(
            "%s is used, as in 0.1.0; rename it to %s: the next release looks there alone",
            OLD_TRIALS_DIR,
            TRIALS_DIR,
        )
        return OLD_TRIALS_DIR
    return TRIALS_DIR

"""A file lock: a trial is run by one process at a time, of whatever command."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fedvoice.protocol.files import take_lock

LOCK_FILE = "trial.lock"
"""Empty, and never removed: waiting processes hold it open."""
_POLL_SECS = 0.2


@contextmanager
def held(directory: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Lock a trial's existing folder. The kernel releases the lock when this process dies; child
    processes do not inherit it.

    Args:
        wait: called repeatedly while another process holds the lock; an exception ends the wait.
    """
    with (directory / LOCK_FILE).open("ab") as file:
        while not take_lock(file):
            wait()
            time.sleep(_POLL_SECS)
        yield

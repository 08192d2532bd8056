"""A file lock: a trial is run by one process at a time, of whatever command."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fedvoice.protocol.locks import holder_of, try_lock

LOCK_FILE = "trial.lock"
"""Never removed."""
_POLL_SECS = 0.2


@contextmanager
def held(directory: Path, wait: Callable[[str], None]) -> Iterator[None]:
    """Lock a trial's existing folder. The kernel releases the lock when this process dies; child
    processes do not inherit it.

    Args:
        wait: called repeatedly while another process, which it is told, holds the lock; an
            exception ends the wait.
    """
    path = directory / LOCK_FILE
    while (file := try_lock(path)) is None:
        wait(holder_of(path))
        time.sleep(_POLL_SECS)
    with file:
        yield

"""A trial is run by one process at a time, whatever command wants it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fedvoice.protocol.files import take_lock

LOCK_FILE = "trial.lock"
"""Empty, and never removed: whoever waits for it has it open."""
_POLL_SECS = 0.2


@contextmanager
def held(directory: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Hold a trial's folder, which exists. The kernel lets go of it when this process dies, however
    it does; processes that it starts do not inherit it.

    Args:
        wait: called again and again while another process has it; what it raises ends the waiting.
    """
    with (directory / LOCK_FILE).open("ab") as file:
        while not take_lock(file):
            wait()
            time.sleep(_POLL_SECS)
        yield

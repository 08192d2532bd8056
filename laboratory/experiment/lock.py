"""A cell is run by one process at a time, whatever command wants it."""

from __future__ import annotations

import errno
import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = "cell.lock"
"""Empty, and never removed: whoever waits for it has it open."""
_POLL_SECS = 0.2
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOTSUP)


@contextmanager
def held(directory: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Hold a cell's folder, which exists. The kernel lets go of it when this process dies, however
    it does; processes that it starts do not inherit it.

    Args:
        wait: called again and again while another process has it; what it raises ends the waiting.
    """
    with (directory / LOCK_FILE).open("ab") as file:
        while not _taken(file.fileno()):
            wait()
            time.sleep(_POLL_SECS)
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # A disk without locks, as some network disks are: better a cell without one than none.
        if error.errno not in _NO_LOCKS_HERE:
            raise
    return True

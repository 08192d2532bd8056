"""Locks between processes: who works in a folder says so there, by name."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from fedvoice.protocol.errors import ErrorCode, FedvoiceError, make_folder

FOLDER_LOCK = ".lock"
"""In a folder while a command writes there."""
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOTSUP)
_HOLDER_BYTES = 300


def take_lock(file: IO[Any]) -> bool:
    """Lock an open file against other processes; False if another one holds the lock.

    The kernel releases the lock when the file is closed or this process ends in any way; child
    processes do not inherit it. On a disk without locks, such as some network disks, every caller
    gets it.
    """
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            raise
    return True


def try_lock(path: Path) -> IO[bytes] | None:
    """Lock a file, made if it is not there, until it is closed or this process ends, and write
    this process's name into it; None if another one holds it (see `holder_of`)."""
    while True:
        file = path.open("ab")
        if not take_lock(file):
            file.close()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        file.close()  # its last holder has just removed it
    with suppress(OSError):  # a full disk: the lock holds all the same
        file.truncate(0)
        file.write(_own_name().encode("utf-8", "replace")[:_HOLDER_BYTES])
        file.flush()
    return file


def hold_lock(path: Path, *, got: str, wanted: str, next_step: str) -> IO[bytes]:
    """As `try_lock`, an error where another one holds it.

    Args:
        got, wanted, next_step: the error, for a person; it names the file's folder and the holder.

    Raises:
        FedvoiceError: `exists`.
    """
    file = try_lock(path)
    if file is None:
        raise FedvoiceError(
            ErrorCode.EXISTS,
            where=str(path.parent),
            got=f"{got} ({holder_of(path)})",
            wanted=wanted,
            next_step=next_step,
        )
    return file


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make a folder and keep it to this command.

    Raises:
        FedvoiceError: `exists` while another command writes there; `not-writable`, `store-full`.
    """
    make_folder(folder)
    path = folder / FOLDER_LOCK
    file = hold_lock(
        path,
        got="another command that writes there",
        wanted="one command a folder at a time",
        next_step="Wait for its end, or choose another folder.",
    )
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def holder_of(path: Path) -> str:
    """Who holds a lock, as it wrote itself; of a version that did not: "held"."""
    try:
        return path.read_bytes().decode("utf-8", "replace") or "held"
    except OSError:
        return "held"


def _own_name() -> str:
    # The subcommand alone: options may hold invitations.
    name = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    command = " ".join([name, *sys.argv[1:2]]) if name == "fedvoice" else name
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return f"process {os.getpid()} on {socket.gethostname()}: {command}, since {since}"

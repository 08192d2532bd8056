"""A phone's folder: its lock, and its full disk as `no-space`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fedvoice.protocol.errors import ErrorCode, FedvoiceError, is_full
from fedvoice.protocol.files import hold_lock


@contextmanager
def room_on_disk(where: Path) -> Iterator[None]:
    """Turn a full disk into `no-space`; other errors pass."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise FedvoiceError(
            ErrorCode.NO_SPACE,
            where=str(where),
            got=str(error.strerror),
            wanted="room for the task's files, the checkpoint and the update",
            next_step="Free some space or raise the quota; what was finished is kept.",
        ) from error


def hold_phone(state: Path) -> IO[bytes]:
    """Lock a phone's folder until the file returned is closed.

    Raises:
        FedvoiceError: `exists` if it is run already, by another process or by this one.
    """
    return hold_lock(
        state / "lock",
        got="another process that runs this phone",
        wanted="one process a phone",
        next_step="Stop the other one, or give another --state (`state` of `open_phone`).",
    )

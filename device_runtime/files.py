"""Files that are whole or not there, whatever happens to the process or the power."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: Path, *parts: bytes) -> None:
    """Replace `path`: a killed process leaves the old file or the new one, whole."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.writelines(parts)
    os.replace(temporary, path)


def write_durably(path: Path, data: bytes) -> None:
    """Replace `path`; when this returns, it survives a power cut too."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def room_on_disk(where: Path) -> Iterator[None]:
    """Turn a full disk into `no-space`; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise FedvoiceError(
            ErrorCode.NO_SPACE,
            where=str(where),
            got=str(error.strerror),
            wanted="room for the task's files, the checkpoint and the update",
            next_step="Free some space or raise the quota; what was finished is kept.",
        ) from error

"""A phone's full disk as `no-space`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedvoice.protocol.errors import ErrorCode, FedvoiceError, is_full


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

"""Files that survive a crash: written aside, synced, then renamed into place."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sync_file(path: Path) -> None:
    """Have the file's bytes on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Have the folder's names on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file, then make it `path` at once and durably.

    Raises:
        FedvoiceError: `store-full`.
    """
    aside = path.with_name(f".{path.name}.part")
    try:
        write(aside)
        sync_file(aside)
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        if error.errno in _FULL:
            raise store_full(str(path), "the disk is full") from error
        raise


def is_full(error: OSError) -> bool:
    """Whether the system says that there is no space left."""
    return error.errno in _FULL


def store_full(where: str, got: str) -> FedvoiceError:
    """The error for a store that cannot take more."""
    return FedvoiceError(
        ErrorCode.STORE_FULL,
        where=where,
        got=got,
        wanted="space for the round's weights and updates",
        next_step="Free disk space or raise quota_bytes, then start the server again: it goes on "
        "where it was.",
    )

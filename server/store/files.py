"""Durable files of the store; a full disk is `store-full`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedvoice.protocol import files
from fedvoice.protocol.errors import ErrorCode, FedvoiceError, is_full


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then rename it to `path`, durably.

    Raises:
        FedvoiceError: `store-full`.
    """
    try:
        files.replace_file(path, write, durably=True)
    except OSError as error:
        if is_full(error):
            raise store_full(str(path), "the disk is full") from error
        raise


def store_full(where: str, got: str) -> FedvoiceError:
    """The error for a full store."""
    return FedvoiceError(
        ErrorCode.STORE_FULL,
        where=where,
        got=got,
        wanted="space for the round's weights and updates",
        next_step="Free disk space or raise quota_bytes, then start the server again: it resumes.",
    )

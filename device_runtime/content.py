"""What a recording is, whatever its path."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from fedvoice.protocol.errors import ErrorCode, FedvoiceError


def content_of(audio: Path | bytes) -> str:
    """sha256 of a sound file's bytes, hex.

    Raises:
        FedvoiceError: `missing-audio`.
    """
    if isinstance(audio, bytes):
        return hashlib.sha256(audio).hexdigest()
    try:
        found = audio.stat()
        return _digest(audio, found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise FedvoiceError(
            ErrorCode.MISSING_AUDIO,
            where=str(audio),
            got=error.strerror or str(error),
            wanted="a sound file",
            next_step="Correct the path, which is relative to the manifest.",
        ) from error


@lru_cache(maxsize=1024)
def _digest(audio: Path, _size_bytes: int, _changed_ns: int) -> str:
    """Kept for a while: many segments lie in one recording."""
    with audio.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

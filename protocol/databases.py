"""SQLite databases at any path that SQLite can open; how long a locked one is waited for."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

LOCKED_SECS = 30.0
"""A database that another program holds is waited for so long."""
LONGEST_PATH_BYTES = 490
"""SQLite opens paths of 504 bytes, links resolved; a database is made under a longer name."""


def check_database_path(path: Path) -> None:
    """Refuse a path that SQLite could not open.

    Raises:
        FedvoiceError: `bad-config`, naming the limit.
    """
    whole = os.path.realpath(path)
    length_bytes = len(os.fsencode(whole))
    if length_bytes > LONGEST_PATH_BYTES:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=str(path.parent),
            got=f"a folder in which the path of {path.name} has {length_bytes} bytes",
            wanted=f"{LONGEST_PATH_BYTES} bytes at most, of the whole path with links resolved: "
            "the database in it is opened by SQLite",
            next_step="Choose a folder with a shorter path.",
        )


def reading_uri(path: Path, *, fixed: bool = False) -> str:
    """SQLite's URI of a database that is only read. fixed: nobody writes to it meanwhile, and no
    file may be made beside it."""
    name = quote(os.fsencode(path.absolute()))
    return f"file:{name}?mode=ro" + ("&immutable=1" if fixed else "")

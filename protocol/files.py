"""Atomic file replacement, JSON lines, and file locks between processes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOTSUP)


def replace_file(
    path: Path, write: Callable[[Path], object], *, durably: bool = False, writer: str = ""
) -> None:
    """Let `write` fill a temporary file, then rename it to `path`: readers see the old file or the
    new one, complete.

    Args:
        durably: when this returns, the new file also survives a power cut.
        writer: part of the temporary file's name, needed if others may write the same path now.
            Without it the next write replaces what a killed process left.

    Raises:
        OSError: what writing raises.
    """
    aside = path.with_name(f".{path.name}{writer}.part")
    try:
        write(aside)
        if durably:
            sync_file(aside)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if durably:
        sync_folder(path.parent)


def write_file(
    path: Path, content: bytes | str, *, durably: bool = False, writer: str = ""
) -> None:
    """Replace `path` by a file with this content (text as UTF-8); see `replace_file`."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    replace_file(path, lambda aside: aside.write_bytes(data), durably=durably, writer=writer)


def sync_file(path: Path) -> None:
    """Sync the file's bytes to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Sync the folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def hold_lock(path: Path, *, got: str, wanted: str, next_step: str) -> IO[bytes]:
    """Lock a file, made if it is not there, until it is closed or this process ends.

    Args:
        got, wanted, next_step: the error, for a person; it names the file's folder.

    Raises:
        FedvoiceError: `exists` if another one holds it.
    """
    file = path.open("ab")
    if not take_lock(file):
        file.close()
        raise FedvoiceError(
            ErrorCode.EXISTS, where=str(path.parent), got=got, wanted=wanted, next_step=next_step
        )
    return file


def read_json_lines(text: str, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a text with one JSON object a line, blank lines left out, each with its place
    (`where:line`).

    Raises:
        FedvoiceError: `bad-manifest` at a line that is not a JSON object.
    """
    # Not splitlines: U+2028 and its like may stand in a JSON text.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{where}:{number}"
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise _bad_line(place, f"{type(error).__name__}: {error}") from error
        if not isinstance(fields, dict):
            raise _bad_line(place, f"a JSON {type(fields).__name__}")
        yield place, fields


def read_text(path: Path, *, wanted: str, next_step: str) -> str:
    """A UTF-8 text file.

    Args:
        wanted: what sort of file, for a person.

    Raises:
        FedvoiceError: `not-found`, also for bytes that are not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=str(path),
            got=str(error),
            wanted=wanted,
            next_step=next_step,
        ) from error


def _bad_line(where: str, got: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_MANIFEST,
        where=where,
        got=got,
        wanted="a JSON object",
        next_step="Correct the line.",
    )

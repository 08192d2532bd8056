"""Atomic file replacement, JSON lines, and file locks between processes."""

from __future__ import annotations

import codecs
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
        if line.strip():
            yield f"{where}:{number}", _json_object(line, where, number)


def json_lines(path: Path, *, wanted: str, next_step: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file with one JSON object a line, and their line numbers; never more than
    one line in memory.

    Args:
        wanted: what sort of file, for a person.

    Raises:
        FedvoiceError: `not-found`; `bad-manifest` at a line that is not a JSON object or not
            UTF-8.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            at = 0
            for number, line in enumerate(file, start=1):
                if number == 1:
                    _check_encoding(line, name)
                    if line.startswith(codecs.BOM_UTF8):
                        at = len(codecs.BOM_UTF8)
                        line = line[at:]
                try:
                    text = line.decode()
                except UnicodeDecodeError as error:
                    raise _not_utf8(f"{name}:{number}", error, at, wanted) from error
                at += len(line)
                try:
                    fields, end = _decode(text)
                except ValueError:
                    end = -1
                if end < 0 or len(text) - end > 2 or type(fields) is not dict:
                    if not text.strip():
                        continue
                    fields = _json_object(text, name, number)
                yield number, fields
    except OSError as error:
        raise _unread(path, error, wanted, next_step) from error


def read_text(path: Path, *, wanted: str, next_step: str) -> str:
    """A UTF-8 text file; a byte order mark is left out, line ends stay as they are.

    Args:
        wanted: what sort of file, for a person.

    Raises:
        FedvoiceError: `not-found`; `bad-manifest` for bytes that are not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unread(path, error, wanted, next_step) from error
    _check_encoding(data, str(path))
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        bom = len(codecs.BOM_UTF8) * data.startswith(codecs.BOM_UTF8)
        line = data.count(b"\n", 0, bom + error.start) + 1
        raise _not_utf8(f"{path}:{line}", error, bom, wanted) from error


_decode = json.JSONDecoder().raw_decode


def _json_object(line: str, where: str, number: int) -> dict[str, Any]:
    place = f"{where}:{number}"
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise _bad_line(place, f"{type(error).__name__}: {error}") from error
    if not isinstance(fields, dict):
        raise _bad_line(place, f"a JSON {type(fields).__name__}")
    return fields


def _check_encoding(begin: bytes, where: str) -> None:
    if begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FedvoiceError(
            ErrorCode.BAD_MANIFEST,
            where=where,
            got="UTF-16 (its byte order mark at byte 0)",
            wanted="UTF-8",
            next_step="Save the file as UTF-8: iconv -f UTF-16 -t UTF-8 IN > OUT.",
        )


def _not_utf8(where: str, error: UnicodeDecodeError, at: int, wanted: str) -> FedvoiceError:
    byte = error.object[error.start]
    return FedvoiceError(
        ErrorCode.BAD_MANIFEST,
        where=where,
        got=f"byte 0x{byte:02x} at offset {at + error.start} of the file, which is not UTF-8",
        wanted=f"{wanted}, in UTF-8",
        next_step="Save the file as UTF-8, for instance iconv -f WINDOWS-1252 -t UTF-8 IN > OUT.",
    )


def _unread(path: Path, error: OSError, wanted: str, next_step: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.NOT_FOUND, where=str(path), got=str(error), wanted=wanted, next_step=next_step
    )


def _bad_line(where: str, got: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_MANIFEST,
        where=where,
        got=got,
        wanted="a JSON object",
        next_step="Correct the line.",
    )

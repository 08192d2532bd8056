"""adb's file transfer (SYNC.TXT, version 1): STAT, LIST, SEND, RECV, QUIT."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Protocol

_LENGTH = struct.Struct("<I")
_STAT = struct.Struct("<III")
_CHUNK_BYTES = 64 * 1024


class SyncStream(Protocol):
    """The bytes of one sync service."""

    def read(self, count: int) -> bytes:
        """Exactly so many bytes, or EOFError."""

    def write(self, data: bytes) -> None:
        """Send; EOFError once the other side has gone."""


class FileAccess(Protocol):
    """The device's files."""

    def path(self, name: str) -> Path:
        """Where a file of the device lies on this machine."""

    def check_room(self, size_bytes: int) -> None:
        """Raises OSError if the device has no room for so many bytes more."""


def serve_sync(stream: SyncStream, files: FileAccess) -> None:
    """Answer requests until the client quits."""
    while True:
        request = stream.read(4)
        argument = stream.read(_LENGTH.unpack(stream.read(4))[0])
        name = argument.decode("utf-8", "replace")
        if request == b"QUIT":
            return
        if request == b"STAT":
            _stat(stream, files.path(name))
        elif request == b"LIST":
            _list(stream, files.path(name))
        elif request == b"SEND":
            _receive(stream, files, name)
        elif request == b"RECV":
            _send(stream, files.path(name))
        else:
            _fail(stream, f"request {request!r} is not known")


def _stat(stream: SyncStream, path: Path) -> None:
    try:
        facts = path.stat()
    except OSError:
        stream.write(b"STAT" + _STAT.pack(0, 0, 0))
        return
    size = facts.st_size & 0xFFFFFFFF
    stream.write(b"STAT" + _STAT.pack(facts.st_mode, size, int(facts.st_mtime)))


def _list(stream: SyncStream, path: Path) -> None:
    for entry in sorted(path.iterdir()) if path.is_dir() else []:
        facts, name = entry.stat(), entry.name.encode()
        size = facts.st_size & 0xFFFFFFFF
        stream.write(
            b"DENT"
            + _STAT.pack(facts.st_mode, size, int(facts.st_mtime))
            + _LENGTH.pack(len(name))
            + name
        )
    stream.write(b"DONE" + bytes(16))


def _receive(stream: SyncStream, files: FileAccess, argument: str) -> None:
    """A push: the file appears when all of it has come, or not at all."""
    name, _, mode = argument.rpartition(",")
    path = files.path(name)
    draft = path.with_name(f"{path.name}.part")
    failure = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = draft.open("wb")
    except OSError as error:
        failure, file = _reason(error), open(os.devnull, "wb")  # noqa: SIM115 - closed below
    with file:
        while True:
            kind = stream.read(4)
            (count,) = _LENGTH.unpack(stream.read(4))
            if kind == b"DONE":
                break
            data = stream.read(count)
            if failure:
                continue  # the client sends all of it before it looks for an answer
            try:
                files.check_room(len(data))
                file.write(data)
                file.flush()
            except OSError as error:
                failure = _reason(error)
                draft.unlink(missing_ok=True)
    if failure:
        _fail(stream, failure)
        return
    draft.chmod(int(mode) & 0o777)
    os.utime(draft, (count, count))
    draft.replace(path)
    stream.write(b"OKAY" + bytes(4))


def _send(stream: SyncStream, path: Path) -> None:
    try:
        with path.open("rb") as file:
            while data := file.read(_CHUNK_BYTES):
                stream.write(b"DATA" + _LENGTH.pack(len(data)) + data)
    except OSError as error:
        _fail(stream, _reason(error))
        return
    stream.write(b"DONE" + bytes(4))


def _fail(stream: SyncStream, reason: str) -> None:
    text = reason.encode()
    stream.write(b"FAIL" + _LENGTH.pack(len(text)) + text)


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)

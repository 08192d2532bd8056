"""Bytes on disk: blobs named by their sha256, uploads in progress, payloads of the open round.

    blobs/<sha256>    program, manifest, weights
    spool/<key>       the part of a payload received so far; the file's length is the offset reached
    payloads/<key>    whole payloads, synced before any row refers to them

All three count against one quota, which holds an update for every place of a round
(`rounds.needs`). A client has one upload at most, and what it sent is deleted when its lease ends,
so that no client takes another's room. An upload reserves what it will need when it begins: it is
refused at once and not half-way.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.errors import ErrorCode, FedvoiceError, is_full
from fedvoice.protocol.files import sync_folder
from fedvoice.server.store.files import replace_file

Look = Callable[[bytes | memoryview], None]


def payload_key(client_id: str, report_id: str) -> str:
    """File name of a report's payload; clients cannot reach each other's."""
    return hashlib.sha256(f"{client_id}\0{report_id}".encode()).hexdigest()


class BlobStore:
    """One folder. Safe to call from several threads."""

    def __init__(self, root: Path, quota_bytes: int, *, durable: bool = True) -> None:
        self.quota_bytes, self.durable = quota_bytes, durable
        self._blobs, self._spool, self._payloads = (
            root / name for name in ("blobs", "spool", "payloads")
        )
        for folder in (self._blobs, self._spool, self._payloads):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._writing: dict[str, int] = {}  # key -> bytes reserved
        self._upload_of: dict[str, str] = {}  # client -> key; of those begun since the start
        self._dropped: set[str] = set()  # keys being written whose client lost its lease
        self._used = sum(
            file.stat().st_size
            for folder in (self._blobs, self._spool, self._payloads)
            for file in folder.iterdir()
        )

    @property
    def used_bytes(self) -> int:
        """Bytes on disk and bytes reserved for uploads in progress."""
        return self._used + sum(self._writing.values())

    def put(self, data: bytes | memoryview) -> str:
        """Store a blob durably; returns its digest. The server's own blobs may exceed the quota.

        Raises:
            FedvoiceError: `store-full`.
        """
        digest = digest_of(data)
        path = self._blobs / digest
        if not path.exists():
            replace_file(path, lambda aside: aside.write_bytes(data))
            with self._lock:
                self._used += len(data)
        return digest

    def path(self, digest: str) -> Path | None:
        """The blob's file; None if it is unknown."""
        # A digest comes from the network: anything but 64 hex digits could be a path.
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            return None
        path = self._blobs / digest
        return path if path.is_file() else None

    def remove(self, digest: str) -> None:
        """Delete a blob; open readers finish."""
        path = self.path(digest)
        if path is not None:
            self._delete(path)

    def retain(self, digests: set[str]) -> None:
        """Delete all other blobs: a crash, or changed settings, leave some behind."""
        for path in self._blobs.iterdir():
            if path.name not in digests:
                self._delete(path)

    def received_bytes(self, key: str) -> int:
        """Bytes of an upload on the disk for certain; 0 if there is none."""
        try:
            with (self._spool / key).open("rb") as file:
                if self.durable:
                    os.fsync(file.fileno())
                return os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            return 0

    def open_upload(
        self, client_id: str, key: str, offset: int, size: int, look: Look | None = None
    ) -> Upload:
        """Resume the upload `key` of `size` bytes in all at `offset`. Another one that the client
        began before is deleted.

        Args:
            look: is shown every piece in order, those of earlier calls first.

        Raises:
            FedvoiceError: `no-space`; `exists` if it, or another of the client's, is being
                written; `wrong-shape` if `offset` is not the place reached.
        """
        with self._lock:
            earlier = self._upload_of.get(client_id, key)
            if key in self._writing or earlier in self._writing:
                raise _upload_error(ErrorCode.EXISTS, key, "a second sender", "one at a time")
            if earlier != key:
                self._forget(earlier)
            path = self._spool / key
            reached = path.stat().st_size if path.exists() else 0
            if offset != reached:
                raise _upload_error(
                    ErrorCode.WRONG_SHAPE, key, f"offset {offset}", f"offset {reached}"
                )
            needed = max(0, size - reached)
            free = self.quota_bytes - self._used - sum(self._writing.values())
            if needed > free:
                raise no_space(f"{needed} bytes to come, {max(0, free)} bytes left of the quota")
            self._writing[key] = needed
            self._upload_of[client_id] = key
            self._dropped.discard(key)
        return Upload(self, key, path, reached, look)

    def payload(self, key: str) -> Path:
        """Where the whole payload lies, or would lie."""
        return self._payloads / key

    def discard_upload(self, key: str) -> None:
        """Delete an incomplete upload."""
        self._delete(self._spool / key)

    def drop_upload_of(self, client_id: str) -> None:
        """Delete what a client sent that may no longer report; at once, or when its call ends."""
        with self._lock:
            key = self._upload_of.pop(client_id, None)
            if key is None:
                return
            if key in self._writing:
                self._dropped.add(key)
            else:
                self._forget(key)

    def round_files(self) -> list[Path]:
        """Payloads, and uploads that nobody is writing: what `remove_files` may take once the
        round has ended."""
        with self._lock:
            busy = set(self._writing)
        return [
            file
            for folder in (self._payloads, self._spool)
            for file in folder.iterdir()
            if file.name not in busy
        ]

    def remove_files(self, files: Iterable[Path]) -> None:
        """Delete what `round_files` gave; missing files are ignored."""
        gone = set()
        for file in files:
            self._delete(file)
            gone.add(file.name)
        with self._lock:
            self._upload_of = {c: key for c, key in self._upload_of.items() if key not in gone}

    def _forget(self, key: str) -> None:
        """Delete a report that will not be accepted, whether all of it has come or not."""
        self._delete(self._spool / key)
        self._delete(self._payloads / key)

    def _delete(self, path: Path) -> None:
        with self._lock:
            try:
                size = path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                return
            self._used -= size

    def _wrote(self, key: str, count: int) -> None:
        with self._lock:
            self._used += count
            self._writing[key] = max(0, self._writing[key] - count)

    def _closed(self, key: str) -> None:
        with self._lock:
            self._writing.pop(key, None)
            dropped = key in self._dropped
            self._dropped.discard(key)
            if dropped:
                self._forget(key)


class Upload:
    """One writer of one upload. Bytes written stay when it is closed early."""

    def __init__(
        self, blobs: BlobStore, key: str, path: Path, offset: int, look: Look | None
    ) -> None:
        self._blobs, self.key, self.path, self._look = blobs, key, path, look
        self.received_bytes = offset
        self._hash = hashlib.sha256()
        try:
            self._file: BinaryIO = path.open("a+b", buffering=0)
            self._rehash()
        except BaseException:
            blobs._closed(key)
            raise

    def _rehash(self) -> None:
        self._file.seek(0)
        while piece := self._file.read(1 << 20):
            self._take(piece)

    def _take(self, piece: bytes | memoryview) -> None:
        # While it is in the processor's cache.
        self._hash.update(piece)
        if self._look is not None:
            self._look(piece)

    def __enter__(self) -> Upload:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the writing; also when it was ended before."""
        if not self._file.closed:
            self._file.close()
            self._blobs._closed(self.key)

    def write(self, data: bytes | memoryview) -> None:
        """Append a chunk.

        Raises:
            FedvoiceError: `no-space`; what was written before stays.
        """
        view = memoryview(data)
        while view:
            try:
                count = self._file.write(view)
            except OSError as error:
                if is_full(error):
                    raise no_space("the disk is full") from error
                raise
            self._take(view[:count])
            self._blobs._wrote(self.key, count)
            self.received_bytes += count
            view = view[count:]

    @property
    def digest(self) -> str:
        """sha256 of everything received, hex."""
        return self._hash.hexdigest()

    def finish(self) -> Path:
        """Make the upload a payload: synced, if the store is durable, and renamed before this
        returns."""
        target = self._blobs.payload(self.key)
        if self._blobs.durable:
            os.fsync(self._file.fileno())
        self.path.replace(target)
        if self._blobs.durable:
            sync_folder(target.parent)
        return target


def no_space(got: str) -> FedvoiceError:
    """The error for an upload that the store cannot take."""
    return FedvoiceError(
        ErrorCode.NO_SPACE,
        where="blob store",
        got=got,
        wanted="room for the update",
        next_step="Try again after the round; the operator can raise quota_bytes.",
    )


def _upload_error(code: ErrorCode, key: str, got: str, wanted: str) -> FedvoiceError:
    return FedvoiceError(
        code,
        where=f"upload {key[:16]}",
        got=got,
        wanted=wanted,
        next_step="Ask ReportStatus and resume at the offset it gives.",
    )

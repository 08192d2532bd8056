"""Bytes on disk: blobs named by their sha256, uploads in progress, payloads of the open round.

    blobs/<sha256>    program, manifest, weights
    spool/<key>       the part of a payload received so far; the file's length is the offset reached
    payloads/<key>    whole payloads, synced before any row refers to them

All three count against one quota, which holds an update for every place of a round
(`rounds.needs`). A client has one upload at most, and what it sent is deleted when its lease ends,
so that no client takes another's room. An upload reserves what it will need when it begins: it is
refused at once and not half-way. It need not have a file: what comes quickly is kept in memory
until it is whole (`Upload.hold`).
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.errors import ErrorCode, FedvoiceError, is_full
from fedvoice.protocol.files import sync_folder
from fedvoice.server.store.direct import write_file
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

    def _keep(self, key: str, data: memoryview) -> None:
        """Write a whole payload; synced, if the store is durable, before this returns.

        Raises:
            FedvoiceError: `no-space`.
        """
        target = self.payload(key)
        try:
            write_file(target, data, synced=self.durable)
        except OSError as error:
            target.unlink(missing_ok=True)
            if is_full(error):
                raise no_space("the disk is full") from error
            raise
        if self.durable:
            sync_folder(target.parent)
        self._wrote(key, len(data))

    def _delete(self, path: Path) -> None:
        # Without the lock: a file system may take its time to free what was in a file.
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return
        with self._lock:
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
        self._blobs, self.key, self._path, self._look = blobs, key, path, look
        self.received_bytes = offset
        self._hash = hashlib.sha256()
        self._place: memoryview | None = None
        self._file: BinaryIO | None = None
        self._spilling = threading.Lock()
        self._closed = self._ended = False
        """Ended: whole, or not wanted, so that nothing of it is kept for a later call."""
        if offset:
            try:
                self._rehash(self._opened())
            except BaseException:
                self.close()
                raise

    def hold(self, place: memoryview) -> None:
        """Keep what comes in `place`, and in no file until it is whole. Only for an upload of
        which nothing has come yet; the place is at least as long."""
        self._place = place

    @property
    def held(self) -> bool:
        """Whether its bytes lie in the place that was given to it."""
        return self._place is not None

    @property
    def ended(self) -> bool:
        """Whether nothing of it is to be kept for a later call: closing it takes no time."""
        return self._ended

    @property
    def fresh(self) -> bool:
        """Whether nothing of it has come yet."""
        return self.received_bytes == 0 and self._file is None

    @property
    def content(self) -> memoryview | Path:
        """All that was received, as long as it is neither spilt nor finished."""
        return self._path if self._place is None else self._place[: self.received_bytes]

    def spill(self) -> None:
        """Write what is held to a file, and go on there; the place is free then.

        Raises:
            FedvoiceError: `no-space`; nothing of it is kept.
        """
        with self._spilling:
            place, self._place = self._place, None
            if place is not None:
                self._append(place[: self.received_bytes])

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._file = self._path.open("a+b", buffering=0)
        return self._file

    def _rehash(self, file: BinaryIO) -> None:
        file.seek(0)
        while piece := file.read(1 << 20):
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
        if self._closed:
            return
        self._closed = True
        if not self._ended:
            with suppress(FedvoiceError):  # no space: the next call begins anew
                self.spill()
        with self._spilling:  # by another thread
            self._place = None
        if self._file is not None:
            self._file.close()
        self._blobs._closed(self.key)

    def write(self, data: bytes | memoryview) -> None:
        """Append a chunk.

        Raises:
            FedvoiceError: `no-space`; what was written before stays.
        """
        view = memoryview(data)
        if self._place is None:
            self._append(view)
        else:
            end = self.received_bytes + len(view)
            self._place[self.received_bytes : end] = view
            view = self._place[self.received_bytes : end]
        self._take(view)
        self.received_bytes += len(view)

    def _append(self, view: memoryview) -> None:
        file = self._opened()
        while view:
            try:
                count = file.write(view)
            except OSError as error:
                if is_full(error):
                    raise no_space("the disk is full") from error
                raise
            self._blobs._wrote(self.key, count)
            view = view[count:]

    @property
    def digest(self) -> str:
        """sha256 of everything received, hex."""
        return self._hash.hexdigest()

    def discard(self) -> None:
        """Keep nothing of it."""
        self._ended = True
        self._blobs._delete(self._path)

    def finish(self) -> Path:
        """Make the upload a payload: synced, if the store is durable, before this returns. What is
        held stays held until it is closed.

        Raises:
            FedvoiceError: `no-space`.
        """
        target = self._blobs.payload(self.key)
        if self._place is not None:
            self._blobs._keep(self.key, self._place[: self.received_bytes])
        else:
            file = self._opened()
            if self._blobs.durable:
                os.fsync(file.fileno())
            self._path.replace(target)
            if self._blobs.durable:
                sync_folder(target.parent)
        self._ended = True
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

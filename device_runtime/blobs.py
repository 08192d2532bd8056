"""Blobs by digest: programs, manifests, weights.

The cache may be shared by the phones of one machine, as a place to keep bytes once. What a phone
*holds* is its own list: an emulated phone downloads for itself what it does not hold, though a
neighbour has it, so that the bytes counted are those that phones would need.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.files import write_file
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.task import PROGRAM_FILE, TaskPackage, check_digest, parse_manifest

_PACKAGES = "packages"
_DIGEST_LENGTH = 64
_REMEMBERED = 6


class BlobCache:
    """Files named by their sha256 in one folder, the least recently used ones dropped.

    Args:
        max_bytes: kept at most, after each new blob, that one apart.
    """

    def __init__(self, directory: Path, max_bytes: int = 512 << 20) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        directory.mkdir(parents=True, exist_ok=True)

    def has(self, digest: str) -> bool:
        """Whether there is a file; its content is checked when it is read."""
        return self._path(digest).is_file()

    def read(self, digest: str) -> bytes | None:
        """The blob, its digest checked; None if it is not there. A damaged one is deleted."""
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if digest_of(data) != digest:
            path.unlink(missing_ok=True)
            return None
        os.utime(path)  # used now: last to be dropped
        return data

    def partial_path(self, digest: str, client_id: str) -> Path:
        """Where one client collects a blob while it is incomplete."""
        owner = digest_of(client_id.encode())[:16]
        return self.directory / f"{digest}.{owner}.part"

    def adopt(self, partial: Path, blob: pb.Blob) -> bytes:
        """Turn a complete partial file into a cached blob and return its bytes.

        Raises:
            FedvoiceError: `wrong-digest`; the partial file is deleted then.
        """
        data = partial.read_bytes()
        try:
            check_digest(data, blob.digest, f"blob {blob.digest[:16]} from the server")
        except Exception:
            partial.unlink(missing_ok=True)
            raise
        os.replace(partial, self._path(blob.digest))
        self._drop_oldest(keep=blob.digest)
        return data

    def package(self, manifest_digest: str, manifest_bytes: bytes, program: bytes) -> TaskPackage:
        """A task package's folder made of two checked blobs; it has no initial weights.

        Raises:
            FedvoiceError: `bad-package`; `wrong-digest` if the program is not the manifest's.
        """
        manifest = parse_manifest(manifest_bytes, f"manifest {manifest_digest[:16]}")
        check_digest(program, manifest.program_digest, f"program of task {manifest.name}")
        directory = self.directory / _PACKAGES / manifest_digest
        path = directory / PROGRAM_FILE
        if not path.is_file():
            directory.mkdir(parents=True, exist_ok=True)
            write_file(path, program)
        return TaskPackage(directory=directory, manifest=manifest)

    def _path(self, digest: str) -> Path:
        return self.directory / digest

    def _drop_oldest(self, keep: str) -> None:
        blobs = []
        for path in self.directory.iterdir():
            try:
                if len(path.name) == _DIGEST_LENGTH and path.name != keep:
                    blobs.append((path.stat().st_mtime, path.stat().st_size, path))
            except OSError:
                continue  # another process dropped it
        held = sum(size for _, size, _ in blobs)
        for _, size, path in sorted(blobs):
            if held <= self._max_bytes:
                break
            path.unlink(missing_ok=True)
            shutil.rmtree(self.directory / _PACKAGES / path.name, ignore_errors=True)
            held -= size


class HeldBlobs:
    """The digests that one phone has downloaded, last used last; one a line in a file.

    Only the last few are remembered: they go into every CheckIn, and weights of past rounds are
    never asked for again.
    """

    def __init__(self, path: Path, cache: BlobCache) -> None:
        self._path = path
        self._cache = cache

    def digests(self) -> list[str]:
        """Those still in the cache."""
        try:
            lines = self._path.read_text(encoding="ascii").splitlines()
        except OSError:
            return []
        return [digest for digest in lines if self._cache.has(digest)]

    def use(self, digest: str) -> None:
        """Note that a digest was downloaded or used now."""
        before = self.digests()
        after = [*(d for d in before if d != digest), digest][-_REMEMBERED:]
        if after != before:
            write_file(self._path, ("\n".join(after) + "\n").encode())

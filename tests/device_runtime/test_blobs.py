"""Blobs by digest: kept while there is room, never trusted unread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedvoice.device_runtime.blobs import BlobCache, HeldBlobs
from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb


def adopt(cache: BlobCache, data: bytes, *, used_at: float | None = None) -> str:
    digest = digest_of(data)
    partial = cache.partial_path(digest, "phone")
    partial.write_bytes(data)
    cache.adopt(partial, pb.Blob(digest=digest, size_bytes=len(data)))
    if used_at is not None:
        os.utime(cache.directory / digest, (used_at, used_at))
    return digest


def test_the_least_recently_used_blobs_make_room(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, max_bytes=20)
    first = adopt(cache, b"a" * 10, used_at=1)
    second = adopt(cache, b"b" * 10, used_at=2)
    assert cache.read(first) == b"a" * 10, "used again, so now the second is the oldest"
    third = adopt(cache, b"c" * 15)
    fourth = adopt(cache, b"d" * 5)
    assert [cache.has(d) for d in (first, second, third, fourth)] == [False, False, True, True]


def test_a_blob_damaged_on_the_disk_is_not_read(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path)
    digest = adopt(cache, b"weights")
    (tmp_path / digest).write_bytes(b"weightz")
    assert cache.read(digest) is None
    assert not cache.has(digest)


def test_a_wrong_download_is_thrown_away(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path)
    wanted = digest_of(b"program")
    partial = cache.partial_path(wanted, "phone")
    partial.write_bytes(b"pogrom!")
    with pytest.raises(FedvoiceError) as caught:
        cache.adopt(partial, pb.Blob(digest=wanted, size_bytes=7))
    assert caught.value.code is ErrorCode.WRONG_DIGEST
    assert not partial.exists()
    assert not cache.has(wanted)


def test_a_check_in_names_the_few_blobs_used_last(tmp_path: Path) -> None:
    """Whatever the number of rounds: the program stays, weights of long ago do not."""
    cache = BlobCache(tmp_path / "cache")
    held = HeldBlobs(tmp_path / "held", cache)
    program = adopt(cache, b"program")
    weights = [adopt(cache, f"weights {i}".encode()) for i in range(50)]
    for digest in weights:
        held.use(program)
        held.use(digest)
    assert held.digests() == [*weights[-5:-1], program, weights[-1]]

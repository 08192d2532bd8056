"""Updates and weights on their way: in memory, in files, in turns; the bytes are the same."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvoice.algorithm.aggregation import CHUNK_ELEMENTS
from fedvoice.protocol.codec import ENCODINGS, digest_of, encode
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.intake.downloads import (
    LARGEST_BYTES,
    SMALLEST_BYTES,
    Downloads,
    next_data_bytes,
)
from fedvoice.server.intake.turns import Turns
from fedvoice.server.store.blobs import BlobStore, payload_key
from fedvoice.server.store.direct import aligned_memory, write_file
from fedvoice.server.store.payloads import read_payload
from tests.server.test_streams import DELTA, PAYLOAD, SIZE, Halting

KEY = payload_key("phone", "report")
DATA = np.random.default_rng(0).bytes(10_000)


@settings(deadline=None)
@given(data=st.binary(max_size=20_000), before=st.integers(0, 20_000), synced=st.booleans())
def test_a_file_holds_what_was_written_whatever_it_held(tmp_path_factory, data, before, synced):
    path = tmp_path_factory.mktemp("direct") / "file"
    path.write_bytes(b"x" * before)
    memory = aligned_memory(20_000)[: len(data)]
    memory[:] = data
    write_file(path, memory, synced=synced)
    assert path.read_bytes() == data
    write_file(path, memoryview(data), synced=synced)  # memory that no direct write takes
    assert path.read_bytes() == data


def held(blobs: BlobStore, parts: int):
    """An upload in memory of which one of so many parts has come."""
    upload = blobs.open_upload("phone", KEY, 0, len(DATA))
    upload.hold(aligned_memory(len(DATA)))
    upload.write(DATA[: len(DATA) // parts])
    return upload


def test_a_held_upload_has_no_file_until_it_is_whole(tmp_path):
    blobs = BlobStore(tmp_path, 20_000)
    with held(blobs, parts=2) as upload:
        assert list((tmp_path / "spool").iterdir()) == []
        upload.write(DATA[5000:])
        assert upload.digest == digest_of(DATA)
        assert upload.finish().read_bytes() == DATA == bytes(upload.content)
    assert (blobs.used_bytes, blobs.received_bytes(KEY)) == (len(DATA), 0)


def test_what_was_held_of_a_broken_upload_stays_for_the_next_call(tmp_path):
    blobs = BlobStore(tmp_path, 20_000)
    held(blobs, parts=2).close()
    assert (blobs.used_bytes, blobs.received_bytes(KEY)) == (5000, 5000)
    with blobs.open_upload("phone", KEY, 5000, len(DATA)) as upload:
        assert not upload.fresh
        upload.write(DATA[5000:])
        assert upload.finish().read_bytes() == DATA


def test_an_upload_that_loses_its_place_goes_on_in_a_file(tmp_path):
    blobs = BlobStore(tmp_path, 20_000)
    with held(blobs, parts=4) as upload:
        upload.spill()
        assert blobs.received_bytes(KEY) == 2500
        upload.write(DATA[2500:])
        assert upload.digest == digest_of(DATA)
        assert upload.finish().read_bytes() == DATA
    assert blobs.used_bytes == len(DATA)


def test_a_held_upload_that_is_not_wanted_leaves_nothing(tmp_path):
    blobs = BlobStore(tmp_path, 20_000)
    upload = held(blobs, parts=2)
    upload.discard()
    upload.close()
    assert (blobs.used_bytes, list((tmp_path / "spool").iterdir())) == (0, [])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_payload_in_memory_is_read_as_one_in_a_file(tmp_path, encoding):
    size = 2 * CHUNK_ELEMENTS + 3
    values = np.random.default_rng(0).normal(size=size).astype(np.float32)
    data, path = encode(values, encoding), tmp_path / "payload"
    path.write_bytes(data)
    in_memory = [piece.copy() for piece in read_payload(memoryview(data), encoding, size)]
    in_file = [piece.copy() for piece in read_payload(path, encoding, size)]
    assert [len(piece) for piece in in_memory] == [len(piece) for piece in in_file]
    np.testing.assert_array_equal(np.concatenate(in_memory), np.concatenate(in_file))
    for wrong in (size - 1, size + 1):
        with pytest.raises(FedvoiceError) as caught:
            list(read_payload(memoryview(data), encoding, wrong))
        assert caught.value.code is ErrorCode.WRONG_SHAPE


@settings(deadline=None)
@given(
    size=st.sampled_from([0, 1, LARGEST_BYTES - 1, LARGEST_BYTES, 2 * LARGEST_BYTES + 5]),
    part=st.floats(0, 1),
    keep=st.booleans(),
    pieces=st.lists(
        st.sampled_from([SMALLEST_BYTES, 3 * SMALLEST_BYTES, LARGEST_BYTES]), min_size=1
    ),
)
def test_a_blob_goes_out_as_it_is_from_any_place(tmp_path_factory, size, part, keep, pieces):
    data = np.random.default_rng(size).bytes(size)
    path = tmp_path_factory.mktemp("blob") / "blob"
    path.write_bytes(data)
    blob, offset, got = Downloads(size).open("digest", path, keep=keep), int(part * size), b""
    start = offset
    while offset < size:
        piece_bytes = next_data_bytes(pieces[len(got) % len(pieces)], offset, size)
        got += pb.Chunk.FromString(blob.message(offset, piece_bytes)).data
        offset += piece_bytes
    blob.close()
    assert (blob.size_bytes, got) == (size, data[start:])


def test_blobs_kept_in_memory_are_the_latest_and_no_more_than_allowed(tmp_path):
    downloads, paths = Downloads(10), {}
    for name in "abc":
        paths[name] = tmp_path / name
        paths[name].write_bytes(name.encode() * 5)
        downloads.open(name, paths[name], keep=True)
    paths["a"].write_bytes(b"other")
    assert downloads.open("a", paths["a"], keep=True).message(0, 5)[-5:] == b"other"
    assert downloads.open("c", paths["c"], keep=True).message(0, 5)[-5:] == b"ccccc"
    paths["c"].unlink()
    assert downloads.open("c", paths["c"], keep=True).size_bytes == 5


def test_who_takes_too_long_loses_the_turn_and_the_next_one_begins():
    async def story() -> list[str]:
        turns, told = Turns(1, 0.02), []
        slow, quick = turns.turn(), turns.turn()
        never = asyncio.Event()

        async def dawdle() -> None:
            await slow.take()
            with slow:
                told.append("slow begins")
                await never.wait()

        async def hurry() -> None:
            await quick.take()
            with quick:
                told.append("quick begins")

        waiting = asyncio.ensure_future(dawdle())
        await asyncio.sleep(0)
        await asyncio.wait_for(hurry(), 20)
        assert (slow.lost, slow.held, quick.held) == (True, False, True)
        quick.give_back()
        never.set()
        await waiting
        return told

    assert asyncio.run(story()) == ["slow begins", "quick begins"]


def test_uploads_that_stop_keep_no_place_from_one_that_does_not(lab):
    server, address = lab.serve(
        lab.package(size=SIZE), rounds=1, cohort_size=1, over_selection=21.0, min_population=21
    )
    phones = [lab.phone(address, f"phone {i:02d}") for i in range(21)]
    for phone in phones:
        phone.check_in()
    work = [phone.wait_for_work() for phone in phones]
    stopped = [
        Halting(phone.header(own, PAYLOAD), 1000)
        for phone, own in zip(phones[1:], work[1:], strict=True)
    ]
    calls = [
        phone.stub.Report.future(iter(upload), timeout=60)
        for phone, upload in zip(phones[1:], stopped, strict=True)
    ]
    assert phones[0].report_delta(work[0], DELTA).verdict == pb.VERDICT_ACCEPTED
    assert server.wait_finished(20)
    for upload, call in zip(stopped, calls, strict=True):
        assert call.result(20).verdict == pb.VERDICT_LATE
        upload.go_on.set()


def test_law_1_an_update_counts_the_same_whichever_way_it_came(lab):
    """At once and in memory; with a pause, and so through a file; broken off and resumed."""
    deltas = np.random.default_rng(0).normal(0, 1e-2, (3, SIZE)).astype(np.float32)
    payloads = [encode(delta, "float32") for delta in deltas]

    def sent(store: str, pause: bool, broken: bool) -> bytes:
        server, address = lab.serve(lab.package(size=SIZE), store, rounds=1, cohort_size=3)
        phones = [lab.phone(address, name) for name in "abc"]
        for phone in phones:
            phone.check_in()
        for phone, payload in zip(phones, payloads, strict=True):
            header = phone.header(phone.wait_for_work(), payload)
            if broken:
                assert phone.send(header, payload[:1001]).verdict == pb.VERDICT_WRONG_OFFSET
                header.offset = 1001
            go_on = threading.Event()

            def messages(header=header, payload=payload, go_on=go_on):
                yield pb.ReportRequest(header=header)
                middle = (header.offset + len(payload)) // 2
                yield pb.ReportRequest(chunk=pb.Chunk(data=payload[header.offset : middle]))
                go_on.wait(0.5 if pause else 0)
                yield pb.ReportRequest(chunk=pb.Chunk(data=payload[middle:]))

            assert phone.stub.Report(messages(), timeout=60).verdict == pb.VERDICT_ACCEPTED
        assert server.wait_finished(20)
        server.stop()
        return (server.store_dir / "weights.safetensors").read_bytes()

    at_once = sent("at once", pause=False, broken=False)
    assert sent("paused", pause=True, broken=False) == at_once
    assert sent("broken", pause=False, broken=True) == at_once

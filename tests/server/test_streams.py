"""Transfers that bring nothing, or too little, or too late are ended; what came is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from fedvoice.protocol.codec import encode
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.calls import RefusedError
from fedvoice.server.intake.framing import chunk_data, chunk_message
from fedvoice.server.intake.streams import OverError, StreamSettings, Watch
from fedvoice.server.store.database import open_read_only
from fedvoice.server.store.ledger import round_rows
from fedvoice.server.store.traffic import chunk_wire_bytes, wire_bytes
from tests.waiting import wait_until

SIZE = 1024
DELTA = np.ones(SIZE, np.float32)
PAYLOAD = encode(DELTA, "float32")


class Halting:
    """A report that stops after some bytes until `go_on` is set."""

    def __init__(self, header: pb.ReportHeader, count: int, pieces: int = 1) -> None:
        self.header, self.count, self.pieces = header, count, pieces
        self.go_on = threading.Event()

    def __iter__(self) -> Iterator[pb.ReportRequest]:
        yield pb.ReportRequest(header=self.header)
        if self.count:
            yield pb.ReportRequest(chunk=pb.Chunk(data=PAYLOAD[: self.count]))
        self.go_on.wait(30)
        yield pb.ReportRequest(chunk=pb.Chunk(data=PAYLOAD[self.count :]))


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16_000, 16_384, 262_144, 524_288])
def test_chunks_on_the_wire_are_those_of_protobuf(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    chunk = pb.Chunk(data=data[:size])
    message = chunk_message(data[:size]) if size else b""
    assert message == chunk.SerializeToString()
    report = pb.ReportRequest(chunk=chunk)
    assert chunk_data(report.SerializeToString()) == data[:size]
    assert chunk_wire_bytes(size) == wire_bytes(chunk)
    assert chunk_data(pb.ReportRequest(header=pb.ReportHeader(round=1)).SerializeToString()) is None


def test_a_watch_allows_a_slow_line_and_gaps_and_ends_a_trickle() -> None:
    settings = StreamSettings(silence_secs=30, least_bytes_per_sec=100, window_secs=60)
    slow = Watch(settings, 0.0, None)
    for second in range(0, 600, 20):  # 150 bytes/s, in bursts
        slow.moved(3000, float(second))
    assert slow.patience_secs(600.0) == 30
    trickle = Watch(settings, 0.0, None)
    for second in range(0, 60, 5):
        trickle.moved(1, float(second))
    with pytest.raises(RefusedError, match="13 bytes in 60 s"):
        trickle.moved(1, 60.0)
    kept_waiting = Watch(settings, 0.0, None)
    kept_waiting.begin(100.0)  # by the server
    kept_waiting.moved(1, 110.0)


def test_a_watch_ends_with_the_lease_and_after_empty_messages() -> None:
    leased = Watch(StreamSettings(), 100.0, 50.0)
    assert leased.patience_secs(140.0) == 10
    with pytest.raises(OverError):
        leased.moved(10**6, 150.0)
    with pytest.raises(OverError):
        leased.too_long(150.0)
    with pytest.raises(RefusedError, match="nothing for 30 s"):
        Watch(StreamSettings(), 0.0, None).too_long(30.0)
    empty = Watch(StreamSettings(most_empty=3), 0.0, None)
    for _ in range(3):
        empty.moved(0, 1.0)
    with pytest.raises(RefusedError, match="3 empty"):
        empty.moved(0, 1.0)


def test_silence_in_mid_upload_ends_the_call_and_keeps_what_came(lab):
    server, address = lab.serve(
        lab.package(size=SIZE), rounds=1, cohort_size=1, streams={"silence_secs": 0.3}
    )
    phone = lab.phone(address, "phone")
    header = phone.header(phone.wait_for_work(), PAYLOAD)
    upload = Halting(header, 1000)
    call = phone.stub.Report.future(iter(upload), timeout=30)
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "resume" in call.details()
    upload.go_on.set()
    status = phone.stub.ReportStatus(
        pb.ReportStatusRequest(client_id="phone", report_id=header.report_id), timeout=20
    )
    assert status.received_bytes == 1000
    header.offset = 1000
    assert phone.send(header, PAYLOAD).verdict == pb.VERDICT_ACCEPTED
    assert server.wait_finished(20)


def test_silent_calls_keep_nobody_waiting(lab):
    """Fifty reports that send nothing and fifty that stop: a phone's whole round goes on beside
    them, and they are ended."""
    server, address = lab.serve(
        lab.package(size=SIZE),
        rounds=1,
        cohort_size=1,
        over_selection=2.0,
        min_population=2,
        streams={"silence_secs": 2.0, "header_secs": 1.0},
    )
    honest, idle = lab.phone(address, "honest"), lab.phone(address, "idle")
    idle.check_in()
    held = threading.Event()

    def nothing() -> Iterator[pb.ReportRequest]:
        held.wait(30)
        yield pb.ReportRequest()

    silent = [idle.stub.Report.future(nothing(), timeout=60) for _ in range(50)]
    began = time.monotonic()
    work = honest.wait_for_work()
    assert honest.fetch(work.weights.digest, work.assignment_id)
    assert honest.report_delta(work, DELTA).verdict == pb.VERDICT_ACCEPTED
    assert server.wait_finished(20)
    assert time.monotonic() - began < 20
    for call in silent:
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    held.set()


def test_ordinary_calls_without_their_message_are_ended(lab):
    """gRPC itself would wait for ever, and so many such calls would be all that a server takes."""
    server, address = lab.serve(
        lab.package(size=SIZE), rounds=1, cohort_size=1, streams={"header_secs": 0.5, "most": 60}
    )
    phone, silent = lab.phone(address, "phone"), lab.phone(address, "silent")
    held = threading.Event()

    def nothing() -> Iterator[bytes]:
        held.wait(30)
        yield b""

    calls = [
        silent.channel.stream_unary(f"/fedvoice.v1.Aggregation/{name}").future(nothing())
        for name in ("CheckIn", "Fetch", "ReportStatus") * 15
    ]
    assert phone.report_delta(phone.wait_for_work(), DELTA).verdict == pb.VERDICT_ACCEPTED
    assert server.wait_finished(20)
    for call in calls:
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    held.set()


def test_an_upload_is_told_at_once_that_its_round_has_ended(lab):
    server, address = lab.serve(
        lab.package(size=SIZE), rounds=2, cohort_size=1, over_selection=2.0, min_population=2
    )
    quick, slow = lab.phone(address, "quick"), lab.phone(address, "slow")
    quick.check_in()
    upload = Halting(slow.header(slow.wait_for_work(), PAYLOAD), 1000)
    call = slow.stub.Report.future(iter(upload), timeout=60)
    wait_until(lambda: list((server.store_dir / "spool").iterdir()), "the upload's first bytes")
    assert quick.report_delta(quick.wait_for_work(), DELTA).verdict == pb.VERDICT_ACCEPTED
    reply = call.result(20)  # it has not sent the rest
    assert reply.verdict == pb.VERDICT_LATE
    upload.go_on.set()


def test_a_newer_call_takes_the_place_of_one_that_a_cut_line_left_behind(lab):
    server, address = lab.serve(
        lab.package(size=SIZE), rounds=1, cohort_size=1, streams={"most_of_a_client": 1}
    )
    phone = lab.phone(address, "phone")
    header = phone.header(phone.wait_for_work(), PAYLOAD)
    left_behind = Halting(header, 1000)
    call = phone.stub.Report.future(iter(left_behind), timeout=60)
    wait_until(lambda: list((server.store_dir / "spool").iterdir()), "the upload's first bytes")
    wait_until(
        lambda: next((server.store_dir / "spool").iterdir()).stat().st_size == 1000, "its chunk"
    )
    again = pb.ReportHeader()
    again.CopyFrom(header)
    again.offset = 1000
    assert phone.send(again, PAYLOAD).verdict == pb.VERDICT_ACCEPTED
    assert call.code() is grpc.StatusCode.ABORTED
    left_behind.go_on.set()
    assert server.wait_finished(20)


def test_of_many_calls_of_one_client_each_is_answered(lab):
    """The newest end the oldest, also while those are still waiting for the end of older ones."""
    _, address = lab.serve(lab.package(size=SIZE), rounds=1, cohort_size=1)
    phone = lab.phone(address, "phone")
    header = phone.header(phone.wait_for_work(), PAYLOAD)
    uploads = [Halting(header, 0) for _ in range(30)]
    calls = [phone.stub.Report.future(iter(upload), timeout=60) for upload in uploads]
    # Two go on, or are told that they are not the only one; all others were ended at once.
    codes = [call.code() for call in calls[:-2]]
    assert None not in codes
    assert grpc.StatusCode.DEADLINE_EXCEEDED not in codes
    for upload in uploads:
        upload.go_on.set()


def test_bytes_that_are_no_message_are_an_invalid_argument(lab, caplog):
    _, address = lab.serve(lab.package(size=SIZE), cohort_size=1)
    phone = lab.phone(address, "phone")
    service, junk = "/fedvoice.v1.Aggregation/", b"\xff" * 9
    header = pb.ReportRequest(header=phone.header(phone.wait_for_work(), PAYLOAD))
    calls = [
        lambda: phone.channel.unary_unary(service + "CheckIn")(junk, timeout=20),
        lambda: list(phone.channel.unary_stream(service + "Fetch")(junk, timeout=20)),
        lambda: phone.channel.unary_unary(service + "ReportStatus")(junk, timeout=20),
        lambda: phone.channel.stream_unary(service + "Report")(iter([junk]), timeout=20),
        lambda: phone.channel.stream_unary(service + "Report")(
            iter([header.SerializeToString(), junk]), timeout=20
        ),
    ]
    for call in calls:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not [record for record in caplog.records if record.exc_info]


def test_a_server_stops_whatever_its_clients_do(lab):
    server, address = lab.serve(lab.package(size=SIZE), cohort_size=1)
    phone = lab.phone(address, "phone")
    upload = Halting(phone.header(phone.wait_for_work(), PAYLOAD), 1000)
    held = threading.Event()

    def nothing() -> Iterator[pb.ReportRequest]:
        held.wait(60)
        yield pb.ReportRequest()

    calls = [phone.stub.Report.future(iter(upload), timeout=60)]
    calls += [phone.stub.Report.future(nothing(), timeout=60) for _ in range(10)]
    wait_until(lambda: list((server.store_dir / "spool").iterdir()), "the upload's first bytes")
    began = time.monotonic()
    server.stop(grace_secs=0.5)
    assert time.monotonic() - began < 10
    assert all(call.code() is not None for call in calls)
    upload.go_on.set()
    held.set()


def test_a_store_that_is_not_durable_takes_updates_all_the_same(lab):
    server, address = lab.serve(lab.package(size=SIZE), rounds=2, cohort_size=2, durability="none")
    phones = [lab.phone(address, name) for name in "ab"]
    lab.start_phones(phones, lambda *_: DELTA)()
    assert server.wait_finished(20)
    assert [row.clients for row in round_rows(server.store_dir)] == [2, 2]


@pytest.mark.parametrize(
    "request_",
    [
        pb.CheckInRequest(client_id="a", capabilities=pb.Capabilities(runtime_version="x" * 10**6)),
        pb.CheckInRequest(client_id="a", capabilities=pb.Capabilities(operators=["x"] * 5000)),
        pb.CheckInRequest(client_id="a", cached_digests=["0" * 64] * 257),
        pb.CheckInRequest(client_id="a", capabilities=pb.Capabilities(client_rules=["a\nb"])),
        pb.CheckInRequest(client_id="a\x1b[2J"),
    ],
    ids=["text", "list", "digests", "line", "escape"],
)
def test_what_is_too_long_or_not_printable_is_refused_before_it_is_kept(lab, request_):
    server, address = lab.serve(lab.package())
    phone = lab.phone(address, "phone")
    with pytest.raises(grpc.RpcError) as caught:
        phone.stub.CheckIn(request_, timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    server.stop()
    store = open_read_only(server.store_dir)
    assert store.clients() == []
    store.close()


def test_a_log_line_cannot_be_forged(lab, caplog):
    caplog.set_level("INFO")
    _, address = lab.serve(lab.package(size=SIZE), cohort_size=1)
    phone = lab.phone(address, "phone")
    header = phone.header(phone.wait_for_work(), PAYLOAD)
    header.payload.digest = "0\nforged round=1 committed"
    with pytest.raises(grpc.RpcError) as caught:
        phone.send(header, PAYLOAD)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not any("forged" in line for line in caplog.messages)

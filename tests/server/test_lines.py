"""A phone whose line is too slow for a round is told so when it asks for work."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from fedvoice.protocol.codec import encode
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc
from fedvoice.server.rounds.lines import Load, Typical, too_slow

SIZE = 250_000
MEGABYTE = 4 * SIZE
DELTA = np.ones(SIZE, np.float32)


def rates(up: int = 0, down: int = 0) -> dict[str, bool | int]:
    return {
        "charging": True,
        "idle": True,
        "unmetered": True,
        "up_bytes_per_sec": up,
        "down_bytes_per_sec": down,
    }


def test_the_time_that_a_line_needs_counts_with_its_margin_and_the_training() -> None:
    load = Load(down_bytes=1e6, up_bytes=2e6, train_secs=10)
    line = pb.Conditions(down_bytes_per_sec=100_000, up_bytes_per_sec=50_000)  # 10 s and 40 s
    assert not too_slow(load, line, left_secs=85, margin=1.5)
    assert too_slow(load, line, left_secs=84, margin=1.5) == (
        "1 MB down at 100 kB/s, 2 MB up at 50 kB/s take 50 s and training 10 s; 84 s are left"
    )
    assert too_slow(load, line, left_secs=59, margin=1.0)
    # What is not known counts as boundless, but nothing goes up faster than it comes down. Slow
    # training is not the line's fault.
    assert not too_slow(load, pb.Conditions(), left_secs=1, margin=1.5)
    assert not too_slow(load, pb.Conditions(up_bytes_per_sec=50_000), left_secs=75, margin=1.5)
    down_only = pb.Conditions(down_bytes_per_sec=100_000)  # 10 s and 20 s
    assert not too_slow(load, down_only, left_secs=55, margin=1.5)
    assert "2 MB up at 100 kB/s" in too_slow(load, down_only, left_secs=54, margin=1.5)
    slow_training = Load(1e6, 2e6, train_secs=1000)
    fast = pb.Conditions(down_bytes_per_sec=10**7, up_bytes_per_sec=10**7)
    assert not too_slow(slow_training, fast, left_secs=10, margin=1.5)


def test_what_is_typical_is_not_for_one_phone_to_say() -> None:
    typical = Typical()
    for _ in range(4):
        typical.note(86_400.0, 10**9)
    assert (typical.train_secs, typical.payload_bytes) == (0, None)
    for _ in range(5):
        typical.note(20.0, 1000)
    assert (typical.train_secs, typical.payload_bytes) == (20, 1000)


def test_a_phone_with_a_slow_line_is_told_so_and_its_turn_goes_to_the_next(lab) -> None:
    server, address = lab.serve(
        lab.package(size=SIZE), rounds=1, cohort_size=1, min_population=2, lease_secs=60.0, seed=1
    )
    slow, quick = lab.phone(address, "slow"), lab.phone(address, "quick")
    # 2 MB in 40 s at most: 50 kB/s would do.
    slow.conditions, quick.conditions = rates(40_000, 40_000), rates(60_000, 60_000)
    assert slow.check_in().retry.reason == pb.REASON_UNSPECIFIED, "no round has begun"
    assert not quick.check_in().HasField("assignment"), "the seed invites the slow one"
    told = slow.check_in().retry
    assert told.reason == pb.REASON_LINE_TOO_SLOW
    assert "take 50 s" in told.detail
    work = quick.check_in()
    assert work.HasField("assignment")
    assert quick.report_delta(work.assignment, DELTA).verdict == pb.VERDICT_ACCEPTED
    assert server.wait_finished(20)


@pytest.mark.parametrize("margin", [1.5, 0.0])
def test_a_phone_is_told_what_does_not_fit(lab, margin: float) -> None:
    _, address = lab.serve(
        lab.package(size=SIZE),
        rounds=1,
        cohort_size=1,
        selection="first",
        lease_secs=60.0,
        line_margin=margin,
    )
    phone = lab.phone(address, "phone")
    phone.conditions = rates(up=20_000, down=10**6)
    reply = phone.check_in()
    assert reply.HasField("assignment") == (margin == 0)
    if margin:
        assert reply.retry.reason == pb.REASON_LINE_TOO_SLOW
        assert "1 MB up at 20 kB/s take 51 s; 60 s are left" in reply.retry.detail
        assert reply.retry.max_secs > 0
        # A better line, or none that is known: it gets work, and keeps it whatever it says then.
        phone.conditions = rates()
        given = phone.check_in().assignment
        assert given.assignment_id
        phone.conditions = rates(up=1, down=1)
        assert phone.check_in().assignment.assignment_id == given.assignment_id


def test_what_a_phone_holds_it_need_not_fetch(lab) -> None:
    _, address = lab.serve(
        lab.package(size=SIZE), rounds=1, cohort_size=2, selection="first", lease_secs=60.0
    )
    first, phone = lab.phone(address, "first"), lab.phone(address, "phone")
    phone.conditions = rates(up=10**6, down=10_000)
    phone.check_in()
    weights = first.wait_for_work().weights.digest
    assert phone.check_in().retry.reason == pb.REASON_LINE_TOO_SLOW
    phone.cache = {weights: b""}
    assert phone.check_in().HasField("assignment")


@pytest.mark.parametrize(("wanted", "largest"), [(0, 524_288), (32_768, 32_768), (1, 16_384)])
def test_a_download_has_chunks_as_small_as_the_phone_asks_for(
    lab, wanted: int, largest: int
) -> None:
    _, address = lab.serve(lab.package(size=4 * SIZE), rounds=1, cohort_size=1)
    phone = lab.phone(address, "phone")
    work = phone.wait_for_work()
    request = pb.FetchRequest(
        digest=work.weights.digest,
        client_id="phone",
        assignment_id=work.assignment_id,
        chunk_bytes=wanted,
    )
    sizes = [len(chunk.data) for chunk in phone.stub.Fetch(request, timeout=60)]
    assert sum(sizes) == 4 * MEGABYTE
    assert max(sizes) <= largest
    assert sizes[0] == min(65_536, largest)


def test_pings_keep_a_silent_call_open(lab) -> None:
    """One a second, as often as gRPC allows: its own servers end the connection at the fifth."""
    server, address = lab.serve(lab.package(size=SIZE), rounds=1, cohort_size=1)
    phone = lab.phone(address, "phone")
    payload = encode(DELTA, "float32")
    header = phone.header(phone.wait_for_work(), payload)

    def slowly() -> Iterator[pb.ReportRequest]:
        yield pb.ReportRequest(header=header)
        time.sleep(6.5)
        for start in range(0, len(payload), 100_000):
            yield pb.ReportRequest(chunk=pb.Chunk(data=payload[start : start + 100_000]))

    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    with grpc.insecure_channel(address, options=options) as channel:
        stub = fedvoice_pb2_grpc.AggregationStub(channel)  # type: ignore[no-untyped-call]
        assert stub.Report(slowly(), timeout=60).verdict == pb.VERDICT_ACCEPTED
    assert server.wait_finished(20)

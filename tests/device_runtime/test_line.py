"""What a phone knows of its line, and the chunks that it sends."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvoice.device_runtime.line import (
    KEPT_SECS,
    LARGEST_CHUNK_BYTES,
    SMALLEST_CHUNK_BYTES,
    Chunks,
    Line,
    Rate,
    Way,
    chunk_bytes,
)
from fedvoice.device_runtime.outcomes import Happened
from fedvoice.device_runtime.retries import CallPolicy
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from tests.device_runtime.hut import PROGRAM, Hut, assignment
from tests.device_runtime.scripted_server import ScriptedServer

MEGABYTE = 1_000_000


def test_a_rate_is_smoothed_and_grows_old() -> None:
    first = Rate().after(MEGABYTE, 10.0, now=1000.0)
    assert first.known(1000.0) == 100_000
    second = first.after(MEGABYTE, 5.0, now=2000.0)
    assert second.known(2000.0) == 150_000
    # Of an hour ago it is as good as new; of yesterday, or of tomorrow, it is not known: the phone
    # is given work again, and measures.
    assert second.known(2000.0 + 3600) == 150_000
    assert second.known(2000.0 + KEPT_SECS + 1) == 0
    assert second.known(2000.0 - KEPT_SECS - 1) == 0
    assert second.after(MEGABYTE, 1.0, 2001.0 + KEPT_SECS).known(2001.0 + KEPT_SECS) == MEGABYTE
    # A few round trips say nothing about the line.
    assert second.after(1000, 10.0, now=2000.0) == second


@given(st.floats(0, 1e15), st.floats(0, 1e6), st.integers(0, 2**50))
def test_what_is_reported_fits_the_message(rate: float, secs: float, data_bytes: int) -> None:
    known = Rate(rate, 5.0).after(data_bytes, secs, 6.0).known(6.0)
    assert pb.Conditions(up_bytes_per_sec=known).up_bytes_per_sec == known
    assert known > 0 or rate == 0


@given(st.floats(0, 1e12))
def test_chunks_have_bounds_that_every_server_takes(rate: float) -> None:
    size = chunk_bytes(rate)
    assert SMALLEST_CHUNK_BYTES <= size <= LARGEST_CHUNK_BYTES
    assert size % SMALLEST_CHUNK_BYTES == 0
    message = pb.ReportRequest(chunk=pb.Chunk(data=bytes(LARGEST_CHUNK_BYTES)))
    assert message.ByteSize() < 1024 * 1024


@pytest.mark.parametrize(
    ("bytes_per_sec", "smallest", "largest"),
    [
        (12_500, 16_384, 16_384),  # 100 kbit/s
        (125_000, 16_384, 32_768),
        (1_000_000, 163_840, 245_760),
        (100_000_000, LARGEST_CHUNK_BYTES, LARGEST_CHUNK_BYTES),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_chunks_come_to_suit_the_line(
    bytes_per_sec: int, smallest: int, largest: int, known: bool
) -> None:
    chunks = Chunks(bytes_per_sec if known else 0)
    # The buffers take the first bytes at once, however slow the line is.
    buffered = 128 * 1024
    while buffered > 0:
        buffered -= chunks.size
        chunks.took(chunks.size, 0.0)
    secs = 0.0
    while secs < 60:
        took = 2 * chunks.size / bytes_per_sec
        chunks.took(chunks.size, 0.0)  # two at a time
        chunks.took(chunks.size, took)
        secs += took
    assert smallest <= chunks.size <= largest


def test_a_line_is_remembered_over_sessions(tmp_path: Path) -> None:
    path = tmp_path / "line"
    line = Line(path, lambda: 1e9)
    with line.measured(Way.UP) as gone:
        gone.data_bytes = MEGABYTE
    assert line.bytes_per_sec(Way.UP) > 0
    assert line.bytes_per_sec(Way.DOWN) == 0
    again = Line(path, lambda: 1e9 + 60)
    assert again.bytes_per_sec(Way.UP) == line.bytes_per_sec(Way.UP)
    assert Line(path, lambda: 1e9 + KEPT_SECS + 60).bytes_per_sec(Way.UP) == 0
    for damage in (b"", b"{}", b"[1]", b'{"up": {"bytes_per_sec": "x"}}', path.read_bytes()[:-3]):
        path.write_bytes(damage)
        assert Line(path, lambda: 1e9).bytes_per_sec(Way.UP) == 0


def test_a_phone_reports_what_it_measured(hut: Hut, server: ScriptedServer) -> None:
    server.script.check_ins.append(assignment())
    hut.phone.run_once()
    hut.restart().run_once()
    first, second = (m for m in server.messages if isinstance(m, pb.CheckInRequest))
    assert first.conditions.down_bytes_per_sec == 0
    assert second.conditions.down_bytes_per_sec > len(PROGRAM) / 60
    assert second.conditions.up_bytes_per_sec == 0, "an update of a few bytes says nothing"
    wanted = {fetch.chunk_bytes for fetch in server.fetches}
    assert wanted <= set(range(SMALLEST_CHUNK_BYTES, LARGEST_CHUNK_BYTES + 1))


def test_a_phone_is_told_that_its_line_is_too_slow(hut: Hut, server: ScriptedServer) -> None:
    retry = pb.RetryWindow(
        min_secs=3, max_secs=3, reason=pb.REASON_LINE_TOO_SLOW, detail="10 MB take 900 s"
    )
    server.script.check_ins.append(pb.CheckInReply(retry=retry))
    outcome = hut.phone.run_once()
    assert outcome.happened is Happened.LINE_TOO_SLOW
    assert (outcome.detail, outcome.next_contact_secs) == ("10 MB take 900 s", 3)
    # A reason of a newer server is no work like any other.
    server.script.check_ins.append(pb.CheckInReply(retry=pb.RetryWindow(reason=99, detail="x")))  # type: ignore[arg-type]
    later = hut.phone.run_once()
    assert (later.happened, later.detail) == (Happened.NO_WORK, "x")


@pytest.mark.parametrize("call", ["Fetch", "Report"])
def test_a_silent_server_is_not_waited_for(hut: Hut, server: ScriptedServer, call: str) -> None:
    server.script.check_ins.append(assignment())
    server.script.silent[call] = threading.Event()
    calls = CallPolicy(max_attempts=2, backoff_secs=0.01, silence_secs=0.2)
    hut.settings = replace(hut.settings, calls=calls)
    with pytest.raises(FedvoiceError, match=r"nothing has moved for 0\.2 s") as caught:
        hut.restart().run_once()
    assert caught.value.code is ErrorCode.SERVER_UNREACHABLE
    assert caught.value.where.startswith(call)
    server.script.silent[call].set()


def test_a_lease_that_ends_in_mid_download_ends_the_work(hut: Hut, server: ScriptedServer) -> None:
    server.script.check_ins.append(assignment(lease_secs=50.0))
    server.script.fetch_cuts += [100, 0, 0]
    pause = hut.slept.append

    def sleep(secs: float) -> None:
        hut.now += 60
        pause(secs)

    hut.restart()._sleep = sleep
    assert hut.phone.run_once().happened is Happened.LEASE_EXPIRED
    assert hut.phone.run_once().happened is Happened.NO_WORK

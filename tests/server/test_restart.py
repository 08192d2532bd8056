"""Law 4: what was acknowledged survives `kill -9`, and is counted once. Real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from fedvoice.protocol.codec import decode, encode
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.task import WEIGHTS_FILE, load_weights
from fedvoice.server.store.ledger import round_rows
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
SIZE = 200_000
CONFIG = """
cohort_size = 3
rounds = 2
seed = 3
[optimizer]
rate = 0.5
momentum = 0.9
[retry]
least_secs = 0.01
most_secs = 0.05
"""


class Process:
    """`fedvoice serve` on a store."""

    def __init__(
        self, directory: Path, task: Path, store: str, settings: str = CONFIG, *more: str
    ) -> None:
        config, ready = directory / "server.toml", directory / f"{store}.ready"
        config.write_text(settings)
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "fedvoice", "serve", "--task", task, "--config", config]
        command += ["--store", directory / store, "--bind", "127.0.0.1:0", "--insecure"]
        command += ["--ready-file", ready, "--linger-secs", "20", *more]
        self.process = subprocess.Popen(
            [str(part) for part in command], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        while not ready.exists():
            assert self.process.poll() is None, "the server did not start"
            time.sleep(0.02)
        self.address = ready.read_text().strip()

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        code = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture
def serve(lab):
    package, running = lab.package(size=SIZE), []

    def start(store: str, settings: str = CONFIG) -> Process:
        running.append(Process(lab.directory, package.directory, store, settings))
        return running[-1]

    yield start
    for process in running:
        if process.process.poll() is None:
            process.end(signal.SIGKILL)


def delta_of(client_id: str, number: int) -> np.ndarray:
    seed = ord(client_id) * 100 + number
    return np.random.default_rng(seed).normal(0, 0.01, SIZE).astype(np.float32)


def run_to_the_end(lab, address: str) -> None:
    phones = [lab.phone(address, name, train_examples=i + 1) for i, name in enumerate("abc")]
    lab.start_phones(phones, lambda phone, work: delta_of(phone.client_id, work.round))()


def test_law_4_a_server_killed_in_the_middle_ends_with_the_same_model(lab, serve):
    table = lab.package(size=SIZE).manifest.parameters
    run_to_the_end(lab, serve("undisturbed").address)
    wanted = load_weights(lab.directory / "undisturbed" / "weights.safetensors", table)

    # One report accepted, one half sent, then the power goes.
    first = serve("killed")
    phones = [lab.phone(first.address, n, train_examples=i + 1) for i, n in enumerate("abc")]
    for phone in phones:
        phone.check_in()
    a, b, _ = phones
    work_a, work_b = a.wait_for_work(), b.wait_for_work()
    accepted = a.report_delta(work_a, delta_of("a", 1), 1)
    assert accepted.verdict == pb.VERDICT_ACCEPTED
    payload = encode(delta_of("b", 1), "float32")
    half = b.header(work_b, payload)
    half.statistics.examples = 2
    assert b.send(half, payload[: len(payload) // 2]).verdict == pb.VERDICT_WRONG_OFFSET
    first.end(signal.SIGKILL)

    second = serve("killed")
    a, b, c = (lab.phone(second.address, n, train_examples=i + 1) for i, n in enumerate("abc"))
    # The acknowledged report is still there; sent again, it is answered alike and counted once.
    assert a.report_delta(work_a, delta_of("a", 1), 1).verdict == pb.VERDICT_ACCEPTED
    # The assignment holds, and the upload is resumed where it was.
    assert b.wait_for_work().assignment_id == work_b.assignment_id
    status = b.stub.ReportStatus(pb.ReportStatusRequest(client_id="b", report_id=half.report_id))
    assert (status.received_bytes, status.complete) == (len(payload) // 2, False)
    half.offset = status.received_bytes
    assert b.send(half, payload).verdict == pb.VERDICT_ACCEPTED
    work_c = c.wait_for_work()
    assert c.report_delta(work_c, delta_of("c", 1), 3).verdict == pb.VERDICT_ACCEPTED
    assert c.wait_for_work().round == 2
    second.end(signal.SIGKILL)

    # Killed again with round 1 committed: it is not done a second time.
    third = serve("killed")
    run_to_the_end(lab, third.address)
    assert third.end(signal.SIGTERM) == 0
    got = load_weights(lab.directory / "killed" / "weights.safetensors", table)
    assert got.tobytes() == wanted.tobytes()
    rows = round_rows(lab.directory / "killed")
    assert [(row.round, row.status, row.clients) for row in rows] == [
        (1, "committed", 3),
        (2, "committed", 3),
    ]


def test_law_4_after_a_kill_clients_get_the_same_int8_reference(lab, serve):
    """What rounding left out of it is in the float32 weights, so nothing of it is lost. Updates
    follow from what was downloaded."""
    table, settings = lab.package(size=SIZE).manifest.parameters, 'download_encoding = "int8"\n'

    def trained(phone, work) -> np.ndarray:
        weights = decode(phone.cache[work.weights.digest], work.weights.encoding, SIZE, "test")
        return delta_of(phone.client_id, work.round) - np.float32(1e-5) * weights

    def phones_of(process) -> list:
        return [lab.phone(process.address, n, train_examples=i + 1) for i, n in enumerate("abc")]

    def first_round(process) -> list:
        phones = phones_of(process)
        for phone in phones:
            phone.check_in()
        for phone in phones:
            work = phone.wait_for_work()
            phone.cache[work.weights.digest] = phone.fetch(work.weights.digest, work.assignment_id)
            reply = phone.report_delta(work, trained(phone, work), phone.train_examples)
            assert reply.verdict == pb.VERDICT_ACCEPTED
        return phones

    calm = serve("calm", settings + CONFIG)
    phones = first_round(calm)
    wanted = phones[0].wait_for_work().weights
    lab.start_phones(phones_of(calm), trained)()

    killed = serve("killed", settings + CONFIG)
    phones = first_round(killed)
    assert phones[0].wait_for_work().weights == wanted
    killed.end(signal.SIGKILL)
    again = serve("killed", settings + CONFIG)
    a = lab.phone(again.address, "a", train_examples=1)
    work = a.wait_for_work()
    assert (work.round, work.weights) == (2, wanted)
    assert len(a.fetch(wanted.digest)) == wanted.size_bytes == SIZE + 4 * -(-SIZE // 1024)
    lab.start_phones(phones_of(again), trained)()
    ends = [load_weights(lab.directory / name / WEIGHTS_FILE, table) for name in ("calm", "killed")]
    assert ends[0].tobytes() == ends[1].tobytes()


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_by_hand_it_says_how_to_go_on(serve, how, code):
    process = serve("stopped")
    process.process.send_signal(how)
    output = process.process.communicate(timeout=20)[0]
    assert process.process.returncode == code
    assert "run the same command again" in output


def test_it_stops_within_its_grace_whatever_clients_do(lab, serve):
    """Uploads that halt and a call that says nothing: what came of them is there afterwards."""
    config = "stop_grace_secs = 1.0\n" + CONFIG
    process = serve("stopped", config)
    phones = [lab.phone(process.address, n, train_examples=i + 1) for i, n in enumerate("abc")]
    for phone in phones:
        phone.check_in()
    a, b, _ = phones
    payload = encode(delta_of("a", 1), "float32")
    held = threading.Event()

    def halting(phone, count: int):
        header = phone.header(phone.wait_for_work(), payload)
        yield pb.ReportRequest(header=header)
        yield pb.ReportRequest(chunk=pb.Chunk(data=payload[:count]))
        held.wait(60)

    calls = [phone.stub.Report.future(halting(phone, 1000), timeout=60) for phone in (a, b)]

    def nothing():
        held.wait(60)
        yield b""

    silent = a.channel.stream_unary("/fedvoice.v1.Aggregation/CheckIn").future(nothing())
    spool = lab.directory / "stopped" / "spool"
    wait_until(lambda: spool.is_dir() and len(list(spool.iterdir())) == 2, "the uploads' beginning")
    process.process.send_signal(signal.SIGTERM)
    output = process.process.communicate(timeout=20)[0]
    assert process.process.returncode == 143, output
    held.set()
    for call in (*calls, silent):
        assert call.code() is not grpc.StatusCode.OK
    again = serve("stopped", config)
    for name in "ab":
        phone = lab.phone(again.address, name)
        header = phone.header(phone.wait_for_work(), payload)
        asked = pb.ReportStatusRequest(client_id=name, report_id=header.report_id)
        header.offset = phone.stub.ReportStatus(asked, timeout=20).received_bytes
        assert header.offset == 1000
        assert phone.send(header, payload).verdict == pb.VERDICT_ACCEPTED

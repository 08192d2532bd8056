"""A server store that 0.1.0 left in the middle of a round: this server ends the run with the
weights that 0.1.0 came to, bitwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedvoice.protocol.codec import encode
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.task import load_package, load_weights
from fedvoice.server.store.ledger import round_rows
from tests.compatibility.conftest import Run, read_json
from tests.server.support import Lab, Phone

OF_THE_CLOCK = {"wall_secs", "idle_bytes"}
"""Phones without work call as often as the clock has it."""


@pytest.fixture
def lab(copy_of: Callable[..., Path]) -> Iterator[Lab]:
    lab = Lab(copy_of("server", "server.json") / "server")
    yield lab
    lab.close()


def test_the_books_are_read_as_they_were(lab: Lab) -> None:
    rows = round_rows(lab.directory / "store")
    recorded = read_json(lab.directory.parent / "server.json")["rows_at_the_cut"]
    assert [known_then(asdict(row)) for row in rows] == recorded


def test_its_report_can_be_had(lab: Lab, fedvoice: Run) -> None:
    store = lab.directory / "store"
    done = fedvoice("report", "server/store")
    assert done.stdout.split() == ["server/store/report.html"]
    page = (store / "report.html").read_text()
    assert page.count("<svg") == 4
    assert "phones that call a server" in page


def test_law_4_the_open_round_is_resumed_and_ends_with_the_same_bits(lab: Lab) -> None:
    facts = read_json(lab.directory.parent / "server.json")
    package = load_package(lab.directory / "task")
    server, address = lab.serve(package, **facts["settings"])
    a, b, c = phones_of(lab, address)

    # The accepted report is there: sent again, it is answered alike and counted once.
    sent = pb.Assignment(assignment_id=facts["accepted"]["assignment_id"], round=2)
    assert a.report_delta(sent, delta_of("a", 2), 1).verdict == pb.VERDICT_ACCEPTED

    # The other phone's assignment holds, and its upload is resumed where it was cut.
    half, assignment = facts["half_sent"], b.wait_for_work()
    assert assignment is not None
    assert assignment.assignment_id == half["assignment_id"]
    request = pb.ReportStatusRequest(client_id="b", report_id=half["report_id"])
    assert b.stub.ReportStatus(request).received_bytes == half["received_bytes"]
    payload = encode(delta_of("b", 2), "float32")
    header = b.header(assignment, payload)
    header.statistics.examples, header.offset = 2, half["received_bytes"]
    header.statistics.steps = 2
    assert b.send(header, payload).verdict == pb.VERDICT_ACCEPTED

    for _ in range(2):  # its update, then the evaluation
        work(c)
    lab.start_phones(phones_of(lab, address), lambda phone, w: delta_of(phone.client_id, w.round))()
    assert server.wait_finished(20)
    lab.close()  # the books of the last replies are written
    rows = round_rows(lab.directory / "store")
    assert [without_clock(known_then(asdict(row))) for row in rows] == [
        without_clock(row) for row in facts["rows_at_the_end"]
    ]
    file = lab.directory / "store" / "weights.safetensors"
    weights = load_weights(file, package.manifest.parameters)
    assert weights.tobytes().hex() == facts["weights"]


def known_then(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the fields that were added later."""
    added = {"cfmq_analytic_total_bytes", "cer", "evaluation_chars", "word_errors", "char_errors"}
    return {key: value for key, value in row.items() if key not in added}


def without_clock(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in OF_THE_CLOCK}


def phones_of(lab: Lab, address: str) -> list[Phone]:
    return [
        lab.phone(address, name, train_examples=i + 1, test_examples=int(name == "c"))
        for i, name in enumerate("abc")
    ]


def delta_of(client_id: str, number: int) -> FlatVector:
    seed = ord(client_id) * 100 + number
    return np.random.default_rng(seed).normal(0, 0.01, 8).astype(np.float32)


def work(phone: Phone) -> None:
    """One assignment."""
    assignment = phone.wait_for_work()
    assert assignment is not None
    phone.fetch(assignment.weights.digest, assignment.assignment_id)
    if assignment.work == pb.WORK_TRAIN:
        delta = delta_of(phone.client_id, assignment.round)
        phone.report_delta(assignment, delta, phone.train_examples, steps=2)
    else:
        phone.report_evaluation(assignment, 1, 4)

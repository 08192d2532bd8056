"""A phone of 0.1.0 that is updated resumes: its speech, its half-done work, its unsent update."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fedvoice.device_runtime.outcomes import Happened
from fedvoice.device_runtime.store import ExampleStore, Split
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from tests.compatibility.phones import phone_in
from tests.device_runtime.scripted_server import Script, ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Gives no work: what is reported to it was begun before."""
    server = ScriptedServer(Script())
    yield server
    server.stop()


def test_its_examples_are_there(copy_of: Callable[..., Path]) -> None:
    store = ExampleStore(copy_of("phone") / "phone" / "training" / "examples.sqlite")
    found = [(row.transcript, row.samples) for row in store.examples(Split.TRAIN)]
    assert found == [("no", 2400), ("yes", 2400), ("no", 2400), ("yes", 2400)]
    assert store.count(Split.TEST) == 1


def test_training_is_resumed_at_the_checkpoint(
    copy_of: Callable[..., Path], server: ScriptedServer
) -> None:
    folder = copy_of("phone") / "phone"
    wanted = pb.ReportHeader.FromString((folder / "outbox" / "report.header").read_bytes())
    polls: list[None] = []
    phone = phone_in(folder / "training", server.address, folder / "blobs")
    outcome = phone.run_once(lambda: bool(polls.append(None)))

    assert outcome.happened is Happened.TRAINED
    assert not any(isinstance(m, pb.CheckInRequest | pb.FetchRequest) for m in server.messages)
    ((header, payload),) = server.reports
    assert (header.assignment_id, header.report_id) == ("recorded-1", wanted.report_id)
    assert (header.round, header.payload.encoding) == (7, "float32")
    assert (header.statistics.examples, header.statistics.steps) == (4, 4)
    # Three of its four steps were done.
    assert len(polls) < 3
    update = np.frombuffer(payload, np.float32)
    recorded = np.frombuffer((folder / "outbox" / "report.payload").read_bytes(), np.float32)
    np.testing.assert_allclose(update, recorded, rtol=1e-3, atol=1e-6)
    assert header.statistics.loss == pytest.approx(wanted.statistics.loss, rel=1e-4)


def test_an_update_that_waits_is_delivered_before_anything_else(
    copy_of: Callable[..., Path], server: ScriptedServer
) -> None:
    folder = copy_of("phone") / "phone"
    header_bytes, payload = (
        (folder / "outbox" / name).read_bytes() for name in ("report.header", "report.payload")
    )
    phone = phone_in(folder / "outbox", server.address, folder / "blobs")
    assert phone.run_once().happened is Happened.TRAINED
    about_it = pb.ReportStatusRequest | pb.ReportRequest
    assert all(isinstance(m, about_it) for m in server.messages)
    assert server.reports == [(pb.ReportHeader.FromString(header_bytes), payload)]
    assert phone.run_once().happened is Happened.NO_WORK

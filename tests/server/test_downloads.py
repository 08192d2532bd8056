"""Downloads as float16 and int8: what phones get, which phones get it, and what is booked."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest

from fedvoice.device_runtime.examples import FeatureCache, LocalExamples
from fedvoice.device_runtime.outcomes import Happened
from fedvoice.device_runtime.store import Split
from fedvoice.device_runtime.trainer import train
from fedvoice.protocol.codec import ENCODINGS, decode, digest_of, encode
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import (
    WEIGHTS_FILE,
    TaskPackage,
    load_weights,
    save_weights,
    write_package,
)
from fedvoice.server.store.ledger import round_rows
from tests.device_runtime.hut import Hut
from tests.device_runtime.tiny import TinyEngine, some_weights, tiny_manifest
from tests.server.support import PROGRAM, Lab

SIZE = 60_000  # initially 0, 1, ...: within float16's range
PLAN = TrainingPlan(batch_size=2, clip_norm=0)


def said(encodings: list[str]) -> pb.CheckInRequest:
    return pb.CheckInRequest(
        client_id="phone",
        capabilities=pb.Capabilities(train_examples=1, encodings=encodings),
        conditions=pb.Conditions(charging=True, idle=True, unmetered=True),
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_all_phones_of_a_round_get_the_same_reference(lab: Lab, encoding: str) -> None:
    package = lab.package(size=2000)
    _, address = lab.serve(package, cohort_size=2, download_encoding=encoding)
    phones = [lab.phone(address, name) for name in "ab"]
    for phone in phones:
        phone.check_in()
    given = [phone.wait_for_work() for phone in phones]
    first, second = (work.weights for work in given if work is not None)
    assert first == second
    assert first.encoding == encoding
    data = phones[0].fetch(first.digest)
    assert len(data) == first.size_bytes
    assert data == encode(package.weights(), encoding)


def test_a_phone_that_lacks_the_encoding_gets_no_work_and_the_log_says_why(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    plan = TrainingPlan(update_encoding="float16")
    _, address = lab.serve(lab.package(plan=plan), cohort_size=1, download_encoding="int8")
    phone = lab.phone(address, "phone")
    for _ in range(3):
        assert phone.stub.CheckIn(said(["float32", "float16"])).HasField("retry")
    messages = [r.getMessage() for r in caplog.records if "gets no work" in r.getMessage()]
    assert messages == ["phone gets no work: it lacks encoding int8"]
    # After an update of the app it says another list.
    assert phone.stub.CheckIn(said(["float32", "float16", "int8"])).HasField("assignment")


def test_phones_of_0_1_0_say_no_encodings_and_know_six(lab: Lab) -> None:
    _, address = lab.serve(lab.package(), cohort_size=1, download_encoding="int8+zstd")
    phone = lab.phone(address, "phone")
    assert phone.stub.CheckIn(said([])).assignment.weights.encoding == "int8+zstd"


def test_after_a_change_of_encoding_phones_are_given_the_new_reference_alone(lab: Lab) -> None:
    package = lab.package()
    server, address = lab.serve(package, cohort_size=1, rounds=1)
    before = lab.phone(address, "phone").wait_for_work()
    server.stop()
    again, address = lab.serve(package, cohort_size=1, rounds=1, download_encoding="int8")
    phone = lab.phone(address, "phone")
    assert before is not None
    with pytest.raises(grpc.RpcError) as caught:
        phone.fetch(before.weights.digest, before.assignment_id)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    after = phone.wait_for_work()
    assert after is not None
    assert after.assignment_id == before.assignment_id
    assert phone.fetch(after.weights.digest) == encode(package.weights(), "int8")
    kept = {blob.digest for blob in (after.manifest, after.program, after.weights)}
    assert {path.name for path in (again.store_dir / "blobs").iterdir()} == kept


def small_package(directory: Path, weights: FlatVector | None = None) -> TaskPackage:
    manifest = tiny_manifest()
    directory.mkdir()
    flat = some_weights(manifest) if weights is None else weights
    save_weights(directory / WEIGHTS_FILE, flat, manifest.parameters)
    found = {
        "plan": PLAN,
        "program_digest": digest_of(PROGRAM),
        "weights_digest": digest_of((directory / WEIGHTS_FILE).read_bytes()),
    }
    return write_package(directory, manifest.model_copy(update=found), PROGRAM)


@pytest.mark.parametrize("encoding", ["float16", "int8+zstd"])
def test_a_phone_trains_from_what_it_downloads_and_the_server_keeps_the_rest(
    lab: Lab, tmp_path: Path, encoding: str
) -> None:
    package = small_package(tmp_path / "task")
    server, address = lab.serve(package, cohort_size=1, rounds=1, download_encoding=encoding)
    hut = Hut(tmp_path, address, "anna")
    assert hut.phone.run_once().happened is Happened.TRAINED
    assert server.wait_finished(30)

    engine, exact = TinyEngine(), package.weights()
    reference = decode(encode(exact, encoding), encoding, exact.size, "test")
    local = LocalExamples(engine, hut.store, hut.store.examples(Split.TRAIN), FeatureCache())
    alone = train(engine, local, PLAN, reference, client_id="anna", round_number=1)
    assert alone.delta is not None
    after = load_weights(server.store_dir / WEIGHTS_FILE, engine.manifest.parameters)
    # The grid of exact sums rounds a delta to a multiple of 2^-32.
    np.testing.assert_allclose(after, exact + alone.delta, atol=2.0**-24)
    # From the reference the server would have come to something else.
    assert np.abs(reference - exact).max() > 2.0**-16


def test_weights_beyond_float16_stop_the_server_by_name_and_float32_goes_on(lab: Lab) -> None:
    def settings(encoding: str) -> dict[str, object]:
        return {
            "cohort_size": 1,
            "rounds": 2,
            "download_encoding": encoding,
            "optimizer": {"rate": 10_000.0, "momentum": 0.0},
        }

    package = lab.package()
    server, address = lab.serve(package, **settings("float16"))
    phone = lab.phone(address, "phone")
    assignment = phone.wait_for_work()
    assert assignment is not None
    reply = phone.report_delta(assignment, np.full(8, 10, np.float32))
    assert reply.verdict == pb.VERDICT_ACCEPTED
    with pytest.raises(FedvoiceError, match="download_encoding") as caught:
        server.wait_finished(20)
    assert caught.value.code is ErrorCode.NOT_FINITE
    server.stop()

    again, address = lab.serve(package, **settings("float32"))
    phone = lab.phone(address, "phone")
    phone.work_until_finished(lambda _: np.ones(8, np.float32))
    assert again.wait_finished(20)
    assert [row.clients for row in round_rows(again.store_dir)] == [1, 1]
    after = load_weights(again.store_dir / WEIGHTS_FILE, package.manifest.parameters)
    np.testing.assert_allclose(after, package.weights() + 110_000)


@pytest.mark.parametrize(("encoding", "parts"), [("float16", 2), ("int8", 4)])
def test_law_7_a_round_moves_a_part_of_the_bytes_and_the_books_say_so(
    lab: Lab, encoding: str, parts: int
) -> None:
    plan = TrainingPlan(update_encoding=encoding)
    server, address = lab.serve(
        lab.package(SIZE, plan), rounds=2, cohort_size=1, download_encoding=encoding
    )
    phone = lab.phone(address, "phone", train_examples=8)
    payload = encode(np.ones(SIZE, np.float32), encoding)
    for _ in range(2):
        work = phone.wait_for_work()
        assert work is not None
        phone.fetch(work.weights.digest, work.assignment_id)
        header = phone.header(work, payload, encoding)
        assert phone.send(header, payload).verdict == pb.VERDICT_ACCEPTED
    assert server.wait_finished(20)
    server.stop()
    rows = round_rows(server.store_dir)
    for row in rows:
        assert row.bytes_down == pytest.approx(4 * SIZE / parts, rel=0.02)
        assert row.bytes_up == pytest.approx(4 * SIZE / parts, rel=0.02)
    last = rows[-1]
    assert last.cfmq_analytic_communication_bytes == 2 * 2 * len(payload)
    assert last.cfmq_communication_bytes == pytest.approx(2 * 2 * len(payload), rel=0.01)

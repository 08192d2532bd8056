"""Every verdict of the protocol, over a real socket, and what a phone can do about it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import grpc
import numpy as np
import pytest

from fedvoice.algorithm.links import Contract, Seen, Verdict
from fedvoice.protocol.codec import digest_of, encode
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.server.store.database import open_read_only
from fedvoice.server.store.ledger import round_rows
from tests.waiting import wait_until

ONES = np.ones(8, np.float32)
PAYLOAD = encode(ONES, "float32")
SIZE_OF_FILES = 4096


@pytest.fixture
def serving(lab):
    """A round that wants two phones, and the one of them that tries things."""
    package = lab.package(size=8, plan=TrainingPlan(data_limit=100))
    server, address = lab.serve(package, rounds=1, cohort_size=2, max_update_norm=10.0)
    phone, other = lab.phone(address, "phone"), lab.phone(address, "other")
    other.check_in()
    return server, phone, other


def send(phone, payload=PAYLOAD, **changes):
    assignment = phone.wait_for_work()
    header = phone.header(assignment, payload)
    for name, value in changes.items():
        if name in header.statistics.DESCRIPTOR.fields_by_name:
            setattr(header.statistics, name, value)
        elif name in ("digest", "size_bytes", "encoding"):
            setattr(header.payload, name, value)
        else:
            setattr(header, name, value)
    return phone.send(header, payload)


def test_accepted(serving):
    _, phone, _ = serving
    reply = send(phone)
    assert (reply.verdict, reply.detail) == (pb.VERDICT_ACCEPTED, "")
    assert reply.retry.max_secs > 0


def test_accepted_again_when_the_reply_was_lost_and_counted_once(serving):
    server, phone, other = serving
    assignment = phone.wait_for_work()
    header = phone.header(assignment, PAYLOAD)
    replies = [phone.send(header, PAYLOAD) for _ in range(2)]
    assert other.report_delta(other.wait_for_work(), ONES).verdict == pb.VERDICT_ACCEPTED
    assert server.wait_finished(20)
    replies.append(phone.send(header, PAYLOAD))
    assert [reply.verdict for reply in replies] == [pb.VERDICT_ACCEPTED] * 3
    assert replies[-1].retry.finished
    assert [row.clients for row in round_rows(server.store_dir)] == [2]


def test_a_second_report_for_the_same_assignment_is_late(serving):
    _, phone, _ = serving
    assignment = phone.wait_for_work()
    phone.report_delta(assignment, ONES)
    header = phone.header(assignment, PAYLOAD)
    header.report_id = "another"
    assert phone.send(header, PAYLOAD).verdict == pb.VERDICT_LATE


def test_late_when_the_lease_has_run_out(lab):
    _, address = lab.serve(lab.package(), cohort_size=1, lease_secs=0.1)
    phone = lab.phone(address, "phone")
    assignment = phone.wait_for_work()
    while phone.check_in().assignment.assignment_id == assignment.assignment_id:
        pass
    assert phone.report_delta(assignment, ONES).verdict == pb.VERDICT_LATE


@pytest.mark.parametrize(
    "changes",
    [{"assignment_id": "job-train-1-99"}, {"assignment_id": ""}, {"round": 7}],
    ids=["never-given", "empty", "other-round"],
)
def test_unknown_assignment(serving, changes):
    _, phone, _ = serving
    assert send(phone, **changes).verdict == pb.VERDICT_UNKNOWN_ASSIGNMENT


def test_unknown_assignment_when_it_is_another_phones(serving):
    _, phone, other = serving
    phone.check_in()
    header = phone.header(other.wait_for_work(), PAYLOAD)
    assert phone.send(header, PAYLOAD).verdict == pb.VERDICT_UNKNOWN_ASSIGNMENT


def test_wrong_digest_may_be_sent_again(serving):
    _, phone, _ = serving
    reply = send(phone, digest=digest_of(b"something else"))
    assert reply.verdict == pb.VERDICT_WRONG_DIGEST
    assert send(phone).verdict == pb.VERDICT_ACCEPTED


@pytest.mark.parametrize(
    ("payload", "changes"),
    [
        (encode(np.ones(9, np.float32), "float32"), {}),
        (encode(np.ones(9, np.float32), "float32+zstd"), {"encoding": "float32+zstd"}),
        (b"not zstd", {"encoding": "float32+zstd"}),
        (PAYLOAD, {"encoding": "json"}),
        (b"", {}),
        (PAYLOAD + b"more", {"size_bytes": len(PAYLOAD)}),
    ],
    ids=["too-long", "too-long-inside", "not-zstd", "encoding", "empty", "more-than-announced"],
)
def test_wrong_shape(serving, payload, changes):
    _, phone, _ = serving
    assert send(phone, payload, **changes).verdict == pb.VERDICT_WRONG_SHAPE


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_is_final_and_the_place_is_given_away(serving, bad):
    server, phone, _ = serving
    update = ONES.copy()
    update[5] = bad
    payload = encode(update, "float32")
    assignment = phone.wait_for_work()
    header = phone.header(assignment, payload)
    reply = phone.send(header, payload)
    assert reply.verdict == pb.VERDICT_NOT_FINITE
    again = phone.send(header, payload)
    assert (again.verdict, again.detail) == (reply.verdict, reply.detail)
    assert "phone" not in server.coordinator.state.places
    assert not list((server.store_dir / "spool").iterdir())


@pytest.mark.parametrize(("value", "what"), [(4.0, "norm"), (17.0, "element")])
def test_norm_too_large(serving, value, what):
    _, phone, _ = serving
    reply = send(phone, encode(np.full(8, value, np.float32), "float32"))
    assert reply.verdict == pb.VERDICT_NORM_TOO_LARGE
    assert what in reply.detail


@pytest.mark.parametrize(
    "changes",
    [
        {"examples": 0},
        {"examples": 101},
        {"examples": 70000},
        {"steps": 0},
        {"steps": 2},
        {"steps": 2**32 - 1},
        {"loss": np.nan},
        {"loss": 1e308},
        {"loss": -2e6},
        {"train_secs": 90_000.0},
        {"planned_memory_bytes": 2**62},
        {"peak_memory_bytes": 17 * 1024**3},
    ],
    ids=str,
)
def test_invalid_statistics(serving, changes):
    _, phone, _ = serving
    assert send(phone, **changes).verdict == pb.VERDICT_INVALID_STATISTICS


@pytest.mark.parametrize("value", [2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("name", ["peak_memory_bytes", "planned_memory_bytes", "size_bytes"])
def test_numbers_that_the_store_cannot_hold_are_refused_for_good(serving, name, value):
    server, phone, _ = serving
    assignment = phone.wait_for_work()
    header = phone.header(assignment, PAYLOAD)
    setattr(header.payload if name == "size_bytes" else header.statistics, name, value)
    first, again = (phone.send(header, PAYLOAD) for _ in range(2))
    wanted = pb.VERDICT_WRONG_SHAPE if name == "size_bytes" else pb.VERDICT_INVALID_STATISTICS
    assert (first.verdict, first.detail) == (again.verdict, again.detail)
    assert first.verdict == wanted
    assert str(value) in first.detail or f"{value:.12g}" in first.detail
    with closing(open_read_only(server.store_dir)) as store:
        (row,) = store.reports(client_id="phone")
    kept = row.payload_bytes if name == "size_bytes" else getattr(row, name)
    assert kept == 2**63 - 1


def test_invalid_statistics_of_an_evaluation(lab):
    _, address = lab.serve(
        lab.package(), evaluate_first=True, evaluate_every=1, cohort_size=1, rounds=1
    )
    phone = lab.phone(address, "phone", test_examples=3)
    assignment = phone.wait_for_work()
    assert assignment.work == pb.WORK_EVALUATE
    reply = phone.report_evaluation(assignment, 0, 0)
    assert reply.verdict == pb.VERDICT_INVALID_STATISTICS


@pytest.mark.parametrize(
    ("characters", "verdict"),
    [
        ({}, pb.VERDICT_ACCEPTED),
        ({"char_errors": 9, "chars": 3}, pb.VERDICT_ACCEPTED),
        ({"char_errors": 0, "chars": 2}, pb.VERDICT_INVALID_STATISTICS),
        ({"char_errors": 0, "chars": 0}, pb.VERDICT_INVALID_STATISTICS),
        ({"char_errors": 1}, pb.VERDICT_INVALID_STATISTICS),
    ],
    ids=["none", "more-errors-than-characters", "fewer-than-words", "zero", "errors-alone"],
)
def test_every_word_has_a_character(lab, characters, verdict):
    _, address = lab.serve(
        lab.package(), evaluate_first=True, evaluate_every=1, cohort_size=1, rounds=1
    )
    phone = lab.phone(address, "phone", test_examples=3)
    reply = phone.report_evaluation(phone.wait_for_work(), 1, 3, **characters)
    assert reply.verdict == verdict


def test_no_space_and_nothing_is_lost(lab):
    # The quota has room for the updates of a round, but something else lies where they come in.
    size, package = SIZE_OF_FILES, lab.package(size=SIZE_OF_FILES)
    settings = {"rounds": 2, "cohort_size": 2, "quota_bytes": 3 * 4 * size + 4096}
    server, address = lab.serve(package, **settings)
    for name in "aba":
        lab.phone(address, name).check_in()  # the round is open, and so goes on after a restart
    server.stop()
    (server.store_dir / "spool" / "astray").write_bytes(bytes(3 * size))
    server, address = lab.serve(package, **settings)
    a, b = (lab.phone(address, name) for name in "ab")
    delta = np.ones(size, np.float32)
    work = {phone.client_id: phone.wait_for_work() for phone in (a, b)}
    assert a.report_delta(work["a"], delta).verdict == pb.VERDICT_ACCEPTED
    reply = b.report_delta(work["b"], delta)
    assert reply.verdict == pb.VERDICT_NO_SPACE
    assert "quota" in reply.detail
    (accepted,) = (server.store_dir / "payloads").iterdir()
    assert accepted.stat().st_size == 4 * size


def test_no_client_takes_the_room_of_another(lab):
    """The quota has room for two updates: one phone begins twelve reports, the other one sends
    its own; and what a phone leaves behind goes with its lease."""
    size = SIZE_OF_FILES
    server, address = lab.serve(
        lab.package(size=size),
        rounds=1,
        cohort_size=2,
        lease_secs=3.0,
        quota_bytes=3 * 4 * size + 4096,
    )
    honest, other, third = (lab.phone(address, name) for name in ("honest", "other", "third"))
    for phone in (honest, other):
        phone.check_in()
    delta = np.ones(size, np.float32)
    payload = encode(delta, "float32")
    work = other.wait_for_work()
    for number in range(12):
        header = other.header(work, payload)
        header.report_id = f"report-{number}"
        other.send(header, payload[: 3 * size])
    spool = server.store_dir / "spool"
    assert len(list(spool.iterdir())) == 1
    assert honest.report_delta(honest.wait_for_work(), delta).verdict == pb.VERDICT_ACCEPTED
    wait_until(lambda: not list(spool.iterdir()), "the end of the other's lease")
    assert third.report_delta(third.wait_for_work(), delta).verdict == pb.VERDICT_ACCEPTED
    assert server.wait_finished(20)


def test_a_quota_below_one_round_is_refused_at_the_start(lab):
    with pytest.raises(FedvoiceError, match="cohort_size") as caught:
        lab.serve(lab.package(size=4096), cohort_size=2, quota_bytes=2 * 4 * 4096)
    assert caught.value.code is ErrorCode.STORE_FULL
    # Weights, two updates, and the task's files of a kilobyte.
    assert "(50.4 kB)" in caught.value.wanted


def test_wrong_offset_and_the_way_out(serving):
    _, phone, _ = serving
    assignment = phone.wait_for_work()
    header = phone.header(assignment, PAYLOAD)
    # The line breaks after 12 bytes: a short stream is told how far it came.
    reply = phone.send(header, PAYLOAD[:12])
    assert reply.verdict == pb.VERDICT_WRONG_OFFSET
    header.offset = 20
    assert phone.send(header, PAYLOAD).verdict == pb.VERDICT_WRONG_OFFSET
    request = pb.ReportStatusRequest(client_id="phone", report_id=header.report_id)
    status = phone.stub.ReportStatus(request)
    assert (status.received_bytes, status.complete) == (12, False)
    header.offset = status.received_bytes
    assert phone.send(header, PAYLOAD).verdict == pb.VERDICT_ACCEPTED
    status = phone.stub.ReportStatus(request)
    assert (status.received_bytes, status.complete) == (len(PAYLOAD), True)


class FailingLink:
    """Raises an error of fedvoice's own, with a code that an upload's errors have too."""

    def __init__(self, code: str) -> None:
        self.contract, self.code = Contract(), ErrorCode(code)

    def __call__(self, seen: Seen) -> Verdict:
        facts = {"where": "a link", "got": "its own mistake", "wanted": "none"}
        raise FedvoiceError(self.code, **facts, next_step="Mend it.")


@pytest.mark.parametrize("code", ["wrong-shape", "not-found", "bad-plugin"])
def test_a_link_that_fails_stops_the_server_and_blames_no_client(lab, code):
    link = {"name": f"{__name__}:FailingLink", "options": {"code": code}}
    server, address = lab.serve(lab.package(size=8), rounds=1, cohort_size=1, links=[link])
    phone = lab.phone(address, "phone")
    assignment = phone.wait_for_work()
    with pytest.raises(grpc.RpcError):
        phone.send(phone.header(assignment, PAYLOAD), PAYLOAD)
    with pytest.raises(FedvoiceError, match="its own mistake"):
        server.wait_finished(20)
    assert "phone" in server.coordinator.state.places
    request = pb.ReportStatusRequest(
        client_id="phone", report_id=phone.header(assignment, PAYLOAD).report_id
    )
    status = phone.stub.ReportStatus(request)  # all of it is kept, and nothing was answered
    assert (status.received_bytes, status.complete) == (len(PAYLOAD), False)


def test_every_verdict_has_a_test_here():
    source = Path(__file__).read_text(encoding="utf-8")
    for name in list(pb.Verdict.keys()):
        if name != "VERDICT_UNSPECIFIED":
            assert f"pb.{name}" in source, name

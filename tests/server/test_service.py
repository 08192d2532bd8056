"""Check-in, fetch and start-up over a real socket."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.scoring import ErrorCounts
from fedvoice.protocol.task import load_weights, parse_manifest
from fedvoice.server.app import AggregationServer
from fedvoice.server.cli import describe
from fedvoice.server.store.books import errors_of, read_books
from fedvoice.server.store.ledger import evaluation_rows, round_rows
from tests.server.support import make_package, quick_config
from tests.waiting import wait_until

ONES = np.ones(8, np.float32)


def test_an_assignment_names_everything_and_fetch_gives_it(lab):
    package = lab.package()
    _, address = lab.serve(package, cohort_size=1)
    phone = lab.phone(address, "phone")
    assignment = phone.wait_for_work()
    assert (assignment.round, assignment.work) == (1, pb.WORK_TRAIN)
    assert 0 < assignment.lease_secs <= 300
    assert assignment.plan == package.manifest.plan.to_message()
    manifest = phone.fetch(assignment.manifest.digest)
    assert parse_manifest(manifest, "wire") == package.manifest
    assert phone.fetch(assignment.program.digest) == package.program_path.read_bytes()
    weights = phone.fetch(assignment.weights.digest)
    assert assignment.weights.encoding == "float32"
    np.testing.assert_array_equal(np.frombuffer(weights, "<f4"), package.weights())
    assert phone.fetch(assignment.weights.digest, offset=10) == weights[10:]
    assert phone.fetch(assignment.weights.digest, offset=len(weights)) == b""


@pytest.mark.parametrize(
    ("digest", "offset", "code"),
    [
        ("0" * 64, 0, grpc.StatusCode.NOT_FOUND),
        ("../server.sqlite", 0, grpc.StatusCode.NOT_FOUND),
        (None, 10_000, grpc.StatusCode.OUT_OF_RANGE),
    ],
)
def test_fetch_of_what_is_not_there(lab, digest, offset, code):
    _, address = lab.serve(lab.package(), cohort_size=1)
    phone = lab.phone(address, "phone")
    digest = digest or phone.wait_for_work().weights.digest
    with pytest.raises(grpc.RpcError) as caught:
        phone.fetch(digest, offset=offset)
    assert caught.value.code() is code


def test_a_phone_in_the_cohort_that_asks_again_gets_the_same_assignment(lab):
    _, address = lab.serve(lab.package(), cohort_size=1)
    phone = lab.phone(address, "phone")
    assert phone.wait_for_work().assignment_id == phone.wait_for_work().assignment_id


@pytest.mark.parametrize("missing", ["charging", "idle", "unmetered"])
def test_a_phone_gets_no_work_unless_it_is_charging_idle_and_unmetered(lab, missing):
    _, address = lab.serve(lab.package(), cohort_size=1)
    phone = lab.phone(address, "phone")
    phone.conditions[missing] = False
    for _ in range(3):
        assert phone.check_in().HasField("retry")
    phone.conditions[missing] = True
    assert phone.check_in().HasField("assignment")


def test_gates_can_be_opened(lab):
    _, address = lab.serve(lab.package(), cohort_size=1, gates={"charging": False})
    phone = lab.phone(address, "phone")
    phone.conditions["charging"] = False
    assert phone.check_in().HasField("assignment")


def test_a_phone_without_the_operators_of_the_program_gets_no_work(lab):
    package = lab.package()
    manifest = package.manifest.model_copy(update={"operators": ("aten::mm",)})
    (package.directory / "task.json").write_text(manifest.model_dump_json())
    _, address = lab.serve(type(package)(package.directory, manifest), cohort_size=1)
    phone = lab.phone(address, "phone")
    request = pb.CheckInRequest(
        client_id="phone",
        capabilities=pb.Capabilities(train_examples=1, operators=["aten::add"]),
        conditions=pb.Conditions(charging=True, idle=True, unmetered=True),
    )
    assert phone.stub.CheckIn(request).HasField("retry")
    request.capabilities.operators.append("aten::mm")
    assert phone.stub.CheckIn(request).HasField("assignment")


def test_a_phone_without_the_plans_client_rule_gets_no_work(lab, caplog):
    """Phones of before say nothing of rules; the reason is in the log, once a phone."""
    plan = TrainingPlan(client_rule="my.rules:Mine", client_rule_options={"rate": 0.5})
    _, address = lab.serve(lab.package(plan=plan), cohort_size=1)
    phone = lab.phone(address, "phone")
    for _ in range(3):
        assert phone.check_in().HasField("retry")
    assert [r.getMessage() for r in caplog.records if "gets no work" in r.getMessage()] == [
        "phone gets no work: it lacks client rule my.rules:Mine"
    ]
    able = lab.phone(address, "able")
    request = pb.CheckInRequest(
        client_id="able",
        capabilities=pb.Capabilities(train_examples=1, client_rules=["sgd"]),
        conditions=pb.Conditions(charging=True, idle=True, unmetered=True),
    )
    assert able.stub.CheckIn(request).HasField("retry")
    request.capabilities.client_rules.append("my.rules:Mine")
    assigned = able.stub.CheckIn(request).assignment
    assert TrainingPlan.from_message(assigned.plan) == plan


def test_bad_identifiers_and_newer_protocols_are_refused(lab):
    _, address = lab.serve(lab.package())
    for client_id in ("", "x" * 129, "line\nbreak"):
        with pytest.raises(grpc.RpcError) as caught:
            lab.phone(address, client_id).check_in()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    phone = lab.phone(address, "phone")
    with pytest.raises(grpc.RpcError) as caught:
        phone.stub.CheckIn(
            pb.CheckInRequest(client_id="phone", capabilities=pb.Capabilities(protocol_version=99))
        )
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    with pytest.raises(grpc.RpcError) as caught:
        phone.stub.Report(iter([pb.ReportRequest(chunk=pb.Chunk(data=b"x"))]))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_cohort_is_the_same_whatever_order_the_phones_come_in(lab, tmp_path):
    package = lab.package()
    cohorts = []
    for store, names in (("one", "abcdef"), ("two", "fdbeca")):
        server, address = lab.serve(package, store, cohort_size=2, min_population=6, seed=5)
        for name in names:
            lab.phone(address, name).check_in()
        cohorts.append(set(server.coordinator.state.places))
    assert cohorts[0] == cohorts[1]
    assert len(cohorts[0]) == 2


def test_first_come_first_served(lab):
    server, address = lab.serve(
        lab.package(), rounds=1, cohort_size=2, min_population=1, selection="first"
    )
    tester = lab.phone(address, "no-training-data", train_examples=0, test_examples=5)
    a, b, c = (lab.phone(address, name) for name in "abc")
    work = a.check_in().assignment
    assert tester.check_in().HasField("retry")
    assert b.check_in().HasField("assignment")
    assert c.check_in().HasField("retry")
    for phone in (a, b):
        assert phone.report_delta(phone.wait_for_work(), ONES).verdict == pb.VERDICT_ACCEPTED
    assert work.round == 1
    assert server.wait_finished(20)


def test_evaluation_asks_every_phone_with_test_examples_once(lab):
    package = lab.package()
    server, address = lab.serve(
        package,
        rounds=3,
        cohort_size=1,
        min_population=2,
        min_test_population=2,
        evaluate_every=2,
        evaluate_first=True,
    )
    phones = [
        lab.phone(address, "trains", test_examples=0),
        lab.phone(address, "does-both", test_examples=3),
        lab.phone(address, "held-out", train_examples=0, test_examples=3),
    ]
    lab.start_phones(phones, lambda *_: ONES)()
    assert server.wait_finished(1)
    rows = round_rows(server.store_dir)
    assert [row.round for row in rows] == [0, 1, 2, 3]
    # Before training, every second round, and after the last one.
    assert [row.wer for row in rows] == [0.25, None, 0.25, 0.25]
    assert [row.evaluation_clients for row in rows] == [2, 0, 2, 2]
    heard = evaluation_rows(server.store_dir, 2)
    assert [(row.client_id, row.word_errors, row.words) for row in heard] == [
        ("does-both", 1, 4),
        ("held-out", 1, 4),
    ]


def test_phones_that_count_characters_and_phones_that_do_not(lab):
    server, address = lab.serve(
        lab.package(), rounds=1, cohort_size=1, min_test_population=3, evaluate_first=True
    )
    phones = {name: lab.phone(address, name, test_examples=3) for name in ("new", "newer", "old")}
    counts = {"new": (3, 20), "newer": (0, 10), "old": None}
    for phone in phones.values():
        phone.check_in()
    for name, counted in counts.items():
        characters = dict(zip(("char_errors", "chars"), counted or (), strict=False))
        phones[name].report_evaluation(phones[name].wait_for_work(), 1, 4, **characters)
    wait_until(lambda: round_rows(server.store_dir), "the books of the evaluation")
    heard = evaluation_rows(server.store_dir, 0)
    assert [(e.client_id, e.char_errors, e.chars) for e in heard] == [
        ("new", 3, 20),
        ("newer", 0, 10),
        ("old", None, None),
    ]
    (row,) = round_rows(server.store_dir)
    assert (row.wer, row.evaluation_words) == (0.25, 12)
    assert (row.cer, row.evaluation_chars) == (0.1, 30)
    assert describe(row, "evaluate").startswith("round    0  WER 25.0 %, CER 10.0 % on 3 phones, ")
    assert errors_of(heard) == ErrorCounts(3, 12, 3, 30)
    assert read_books(server.store_dir, {"old"}).initial_cer == 10.0
    assert read_books(server.store_dir, {"old"}).initial_heldout_cer is None


def test_an_abandoned_round_leaves_the_weights_and_says_so(lab):
    package = lab.package()
    server, address = lab.serve(
        package, rounds=1, cohort_size=2, min_fraction=1.0, round_timeout_secs=0.3
    )
    a, b = lab.phone(address, "a"), lab.phone(address, "b")
    a.check_in()
    b.check_in()
    a.report_delta(a.wait_for_work(), ONES)
    assert server.wait_finished(20)
    (row,) = round_rows(server.store_dir)
    assert (row.status, row.ending) == ("abandoned", "too-few")
    np.testing.assert_array_equal(
        load_weights(server.store_dir / "weights.safetensors", package.manifest.parameters),
        package.weights(),
    )


def test_weights_of_every_round_are_kept(lab):
    package = lab.package()
    server, address = lab.serve(package, rounds=2, cohort_size=1)
    lab.start_phones([lab.phone(address, "phone")], lambda *_: ONES)()
    table = package.manifest.parameters
    for number in range(3):
        path = server.store_dir / "rounds" / f"{number:04d}.safetensors"
        np.testing.assert_array_equal(load_weights(path, table), np.arange(8) + number)


def test_a_taken_port_is_an_error_and_not_shared(lab):
    package = lab.package()
    _, address = lab.serve(package)
    second = AggregationServer(quick_config(bind=address), package, lab.directory / "other")
    with pytest.raises(FedvoiceError) as caught:
        second.start()
    assert caught.value.code is ErrorCode.ADDRESS_IN_USE
    assert address in str(caught.value)


def test_one_server_a_store(lab):
    package = lab.package()
    lab.serve(package)
    with pytest.raises(FedvoiceError) as caught:
        AggregationServer(quick_config(), package, lab.directory / "store").start()
    assert caught.value.code is ErrorCode.EXISTS


def test_a_store_of_another_task_is_not_taken_over(lab):
    server, _ = lab.serve(lab.package())
    server.stop()
    other = make_package(lab.directory / "other-task", size=12)
    with pytest.raises(FedvoiceError) as caught:
        AggregationServer(quick_config(), other, lab.directory / "store").start()
    assert caught.value.code is ErrorCode.EXISTS

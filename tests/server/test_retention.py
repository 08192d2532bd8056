"""A store that runs for long stays small, and what it still needs is there."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from sqlalchemy import update

from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.rounds.clients import ClientRegistry
from fedvoice.server.security.authority import Issued
from fedvoice.server.security.credentials import Credentials
from fedvoice.server.store.database import open_store
from fedvoice.server.store.ledger import CLOSING, round_rows
from fedvoice.server.store.retention import (
    DAY_SECS,
    drop_credentials,
    drop_rows_before,
    sizes,
    surplus_weights,
)
from fedvoice.server.store.tables import ROUNDS, CertificateRow, InvitationRow
from tests.server.support import quick_config

DELTA = np.ones(8, np.float32)
SETTINGS = {
    "cohort_size": 1,
    "evaluate_every": 1,
    "keep": {"rows_of_rounds": 2, "weights_of_rounds": 2},
}


def run_rounds(lab, package, rounds: int, errors: tuple[int, ...], **settings):
    """Rounds of one phone, which makes so many errors of ten words after each."""
    server, address = lab.serve(package, rounds=rounds, **{**SETTINGS, **settings})
    phone = lab.phone(address, "phone", test_examples=3)
    for wrong in errors:
        phone.report_delta(phone.wait_for_work(), DELTA)
        phone.report_evaluation(phone.wait_for_work(), wrong, 10)
    assert server.wait_finished(20)
    server.stop()
    return server.store_dir


def test_rows_and_weights_of_old_rounds_go_and_the_books_stay(lab):
    errors = (5, 1, 4, 3, 2, 2)
    package = lab.package()
    store_dir = run_rounds(lab, package, 6, errors)
    rows = round_rows(store_dir)
    assert [(row.clients, row.word_errors) for row in rows] == [(1, wrong) for wrong in errors]
    assert all(row.bytes_up > 0 and row.examples == 1 for row in rows)
    store = open_store(store_dir)
    for found in (store.reports(), store.evaluations(), store.traffic()):
        assert {row.number for row in found} <= {5, 6}
    store.close()
    # The first ones, the best ones, and the two latest.
    there = sorted(path.stem for path in (store_dir / "rounds").iterdir())
    assert there == ["0000", "0002", "0005", "0006"]
    assert (store_dir / "weights.safetensors").read_bytes() == (
        store_dir / "rounds" / "0006.safetensors"
    ).read_bytes()


def test_rounds_without_sums_are_summed_before_their_rows_go(lab):
    """Rounds that an older version closed have nothing but their rows."""
    package, keep = lab.package(), {"rows_of_rounds": 0, "weights_of_rounds": 0}
    store_dir = run_rounds(lab, package, 3, (3, 2, 1), keep=keep)
    before = round_rows(store_dir)
    store = open_store(store_dir)
    with store.transaction(synced=True) as connection:
        for row in store.rounds():
            books = {key: value for key, value in row.books.items() if key != CLOSING}
            connection.execute(update(ROUNDS).where(ROUNDS.c.seq == row.seq).values(books=books))
    store.close()
    run_rounds(lab, package, 5, (1, 1), keep={"rows_of_rounds": 1})
    assert round_rows(store_dir)[:3] == before


def test_the_norm_bound_is_the_same_after_a_restart_though_rows_have_gone(lab):
    package = lab.package()
    settings = {"cohort_size": 5, "keep": {"rows_of_rounds": 1}}
    server, address = lab.serve(package, rounds=8, **settings)
    phones = [lab.phone(address, f"phone-{i}") for i in range(5)]
    for phone in phones:
        phone.check_in()
    for number in range(4):
        for phone in phones:
            phone.report_delta(phone.wait_for_work(), DELTA * (number + 1))
    assert phones[0].wait_for_work().round == 5
    bound = server.coordinator.state.influence.norm_bound
    assert bound > 0
    server.stop()
    server, _ = lab.serve(package, rounds=8, **settings)
    assert server.coordinator.state.influence.norm_bound == bound
    # The round after this one is bounded by norms that are read from the store again.
    assert server.coordinator._norms.norms == tuple(
        (pytest.approx(float(np.linalg.norm(DELTA)) * (n + 1)),) * 5 for n in range(1, 4)
    )


@pytest.mark.parametrize(
    ("there", "kept", "best", "surplus"),
    [
        ([], 2, None, []),
        ([0, 1, 2, 3], 2, None, [1]),
        ([0, 1, 2, 3], 2, 1, []),
        ([3, 0, 2, 1, 4], 1, 2, [1, 3]),
        ([0, 1, 2], 0, None, []),
        ([0, 1], 20, None, []),
    ],
)
def test_which_weights_go(there, kept, best, surplus):
    assert surplus_weights(there, kept, best) == surplus


def test_credentials_go_when_they_have_long_run_out(tmp_path: Path):
    store, now = open_store(tmp_path), time.time()
    credentials = Credentials(store)
    credentials.invite(10.0, now - 100)
    credentials.invite(1000.0, now)
    for name, expires_secs in (("old", now - 50), ("new", now + 50)):
        issued = Issued(certificate=b"", serial=name, issued_secs=0.0, expires_secs=expires_secs)
        credentials.add(name, "key", issued)
    with store.transaction() as connection:
        drop_credentials(connection, now - 70)
    assert len(store.find(InvitationRow)) == 1
    assert {row.serial for row in store.find(CertificateRow)} == {"old", "new"}
    with store.transaction() as connection:
        drop_credentials(connection, now)
    assert {row.serial for row in store.find(CertificateRow)} == {"new"}
    store.close()


def test_clients_that_no_longer_call_are_forgotten(lab):
    store = open_store(lab.directory / "store")
    config = quick_config(keep={"clients_days": 10})

    def registry(now: float) -> ClientRegistry:
        return ClientRegistry(store, config, (), now)

    def called(name: str) -> pb.CheckInRequest:
        return pb.CheckInRequest(
            client_id=name, capabilities=pb.Capabilities(protocol_version=1, train_examples=1)
        )

    clients = registry(0.0)
    clients.register(called("gone"), 0.0)
    clients.register(called("there"), 0.0)
    clients.register(called("there"), 9 * DAY_SECS)
    assert clients.forget_absent(10 * DAY_SECS) == 0
    assert clients.forget_absent(12 * DAY_SECS) == 1
    assert (clients.knows("gone"), clients.knows("there")) == (False, True)
    store.flush()
    again = registry(12 * DAY_SECS)
    assert (again.knows("gone"), again.knows("there")) == (False, True)
    assert again.register(called("gone"), 12 * DAY_SECS).first_seen_secs == 12 * DAY_SECS
    store.close()


def test_there_is_a_limit_to_the_clients_that_a_server_knows(lab):
    _, address = lab.serve(lab.package(), cohort_size=5, keep={"most_clients": 2})
    a, b, c = (lab.phone(address, name) for name in "abc")
    a.check_in()
    b.check_in()
    with pytest.raises(grpc.RpcError) as caught:
        c.check_in()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "most_clients" in caught.value.details()
    a.check_in()


def test_bytes_of_names_that_nobody_registered_share_a_row(lab):
    server, address = lab.serve(lab.package(), cohort_size=5)
    for number in range(5):
        stranger = lab.phone(address, f"stranger-{number}")
        with pytest.raises(grpc.RpcError):
            stranger.fetch("0" * 64)
        asked = pb.ReportStatusRequest(client_id=stranger.client_id, report_id="report")
        assert not stranger.stub.ReportStatus(asked, timeout=20).complete
    server.stop()
    store = open_store(server.store_dir)
    assert {row.client_id for row in store.traffic()} == {""}
    store.close()


def test_sizes_are_those_on_the_disk(lab):
    store_dir = run_rounds(lab, lab.package(), 1, (1,))
    found = sizes(store_dir).parts
    weights = sum(path.stat().st_size for path in (store_dir / "rounds").iterdir())
    assert found["weights"] == weights > 0
    assert found["database"] > 0
    assert str(sizes(store_dir)).startswith("database ")


def test_telling_rounds_keep_their_reports(lab):
    store_dir = run_rounds(
        lab, lab.package(), 3, (1, 1, 1), keep={"rows_of_rounds": 0, "weights_of_rounds": 0}
    )
    store = open_store(store_dir)
    with store.transaction() as connection:
        drop_rows_before(connection, 3, telling=(1,))
    assert {row.number for row in store.reports(work="train")} == {1, 3}
    assert {row.number for row in store.traffic()} == {3}
    store.close()

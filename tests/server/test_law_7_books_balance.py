"""Law 7: the bytes in the books are those on the wire, within 1%, counted by a stranger."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest

from fedvoice.protocol.cost import analytic_cfmq
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.server.store.database import Store
from fedvoice.server.store.ledger import round_row, round_rows

SIZE = 250_000  # 1 MB


class CountingProxy:
    """Passes TCP through to `target` and counts the payload bytes each way."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.up = self.down = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            for source, sink, way in ((near, far, "up"), (far, near, "down")):
                threading.Thread(target=self._pump, args=(source, sink, way), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        try:
            while data := source.recv(65536):
                setattr(self, way, getattr(self, way) + len(data))
                sink.sendall(data)
        except OSError:
            pass
        finally:
            sink.close()

    def close(self) -> None:
        self._listener.close()


def test_law_7_the_books_agree_with_the_wire_within_one_percent(lab):
    package = lab.package(size=SIZE)
    server, address = lab.serve(package, rounds=2, cohort_size=2, evaluate_every=2)
    proxy = CountingProxy(address)
    phones = [
        lab.phone(proxy.address, name, train_examples=10, test_examples=tests)
        for name, tests in (("a", 0), ("b", 5))
    ]
    lab.start_phones(phones, lambda *_: np.ones(SIZE, np.float32))()
    for phone in phones:
        phone.close()
    proxy.close()
    server.stop()
    rows = round_rows(server.store_dir)
    down = sum(row.bytes_down for row in rows)
    up = sum(row.bytes_up for row in rows)
    elsewhere = sum(r.evaluation_bytes + r.install_bytes + r.idle_bytes for r in rows)
    assert down + up + elsewhere == pytest.approx(proxy.down + proxy.up, rel=0.01)
    # Four updates up, four times weights down for training, one more down for the evaluation.
    assert up == pytest.approx(proxy.up, rel=0.01)
    assert down == pytest.approx(4 * 4 * SIZE, rel=0.01)
    assert rows[-1].evaluation_bytes == pytest.approx(4 * SIZE, rel=0.01)
    assert rows[-1].cfmq_communication_bytes == down + up


def test_law_7_measured_and_analytic_cfmq_meet_when_the_plan_is_followed(lab):
    # e = 1, N = 2 * 12 examples, b = 3, K = 2: four steps a client.
    package = lab.package(size=SIZE, plan=TrainingPlan(local_epochs=1, batch_size=3))
    server, address = lab.serve(package, rounds=2, cohort_size=2, alpha=0.5)
    a, _ = phones = [lab.phone(address, name, train_examples=12) for name in "ab"]
    mu = 5_000_000

    def work(phone):
        while (assignment := phone.wait_for_work()) is not None:
            phone.fetch(assignment.weights.digest, assignment.assignment_id)
            delta = np.ones(SIZE, np.float32)
            loss = 1.0 if phone is a else 3.0
            phone.report_delta(assignment, delta, 12, steps=4, planned_memory_bytes=mu, loss=loss)

    threads = [threading.Thread(target=work, args=(phone,)) for phone in phones]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = round_rows(server.store_dir)[-1]
    formula = analytic_cfmq(
        rounds=2,
        clients=2,
        payload_bytes=2 * 4 * SIZE,
        memory_bytes=mu,
        local_epochs=1,
        round_examples=24,
        batch_size=3,
        alpha=0.5,
    )
    assert last.cfmq_analytic_communication_bytes == formula.communication_bytes
    assert last.cfmq_analytic_compute_bytes == formula.computation_bytes
    assert last.cfmq_compute_bytes == formula.computation_bytes == 2 * 2 * 4 * mu
    assert last.cfmq_communication_bytes == pytest.approx(formula.communication_bytes, rel=0.01)
    assert last.cfmq_total_bytes == last.cfmq_communication_bytes + 0.5 * last.cfmq_compute_bytes
    assert (last.steps, last.examples, last.clients, last.loss) == (8, 24, 2, 2.0)
    assert last.planned_memory_bytes == mu
    assert last.peak_memory_bytes == 2000


def test_law_7_evaluating_does_not_make_training_look_cheaper(lab):
    package = lab.package(size=SIZE)
    books = []
    for store, every in (("plain", 0), ("evaluated", 1)):
        server, address = lab.serve(
            package, store, rounds=2, cohort_size=1, evaluate_every=every, evaluate_first=every > 0
        )
        phone = lab.phone(address, f"phone-{store}", train_examples=1, test_examples=1)
        lab.start_phones([phone], lambda *_: np.ones(SIZE, np.float32))()
        server.stop()
        books.append(round_rows(server.store_dir)[-1].cfmq_communication_bytes)
    # The evaluated phone had the weights already when it was asked to train.
    assert books[1] == pytest.approx(books[0], rel=0.01)


def test_the_books_can_be_read_while_the_server_writes(lab):
    server, address = lab.serve(lab.package(), rounds=5, cohort_size=1)
    phone = lab.phone(address, "phone")
    join = lab.start_phones([phone], lambda *_: np.ones(8, np.float32))
    while not server.coordinator.course.finished:
        rows = round_rows(server.store_dir)
        assert [row.round for row in rows] == list(range(1, len(rows) + 1))
    join()
    assert len(round_rows(server.store_dir)) == 5


def test_a_round_is_told_without_reading_those_before(lab, monkeypatch):
    """What a server says at each round's end takes no longer after thousands of rounds."""
    package, store_dir = lab.package(), lab.directory / "store"
    # The server is started again half-way: its sums go on from what is stored.
    for rounds in (3, 5):
        server, address = lab.serve(
            package, rounds=rounds, cohort_size=1, alpha=0.5, evaluate_every=2, evaluate_first=True
        )
        phone = lab.phone(address, "phone", train_examples=3, test_examples=1)
        lab.start_phones([phone], lambda *_: np.ones(8, np.float32))()
        server.stop()
    rows = round_rows(store_dir)
    assert [row.round for row in rows] == list(range(6))
    assert [row.wer is not None for row in rows] == [True, False, True, True, True, True]
    monkeypatch.setattr(Store, "rounds", None)
    assert [round_row(store_dir, number) for number in range(6)] == rows
    assert round_row(store_dir, 6) is None

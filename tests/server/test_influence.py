"""No phone owns the model: one that is enrolled and lies, among honest ones, over real sockets."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fedvoice.algorithm.cohort import draw_cohort
from fedvoice.algorithm.influence import NormHistory
from fedvoice.algorithm.rounds import Phase
from fedvoice.algorithm.settings import AlgorithmConfig
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import WEIGHTS_FILE, load_weights
from fedvoice.server.rounds.record import RoundRecord
from fedvoice.server.store.database import open_read_only, open_store
from fedvoice.server.store.tables import Closing, ReportRow, StoredRound
from fedvoice.server.store.traffic import TrafficBook
from fedvoice.simulation.federation import Federation
from fedvoice.simulation.trainers import LocalUpdate
from fedvoice.simulation.workers.pool import InlinePool
from tests.server.support import Lab, Phone, statistics

SIZE, ROUNDS = 8, 3
LIAR = "liar"
HONEST = [f"honest-{i}" for i in range(10)]
CONFIG: dict[str, Any] = {
    "rounds": ROUNDS,
    "cohort_size": 10,
    "min_population": 11,
    "optimizer": {"momentum": 0.0, "rate": 1.0},
}


def delta_of(client: str, number: int) -> FlatVector:
    if client == LIAR:
        return np.full(SIZE, -16, np.float32)
    random = np.random.default_rng([HONEST.index(client), number])
    return random.normal(0.1, 0.01, SIZE).astype(np.float32)


def reported(client: str) -> pb.Statistics:
    """One step is all that the liar claims to have done."""
    return statistics(65_536, steps=1) if client == LIAR else statistics(10)


class LyingPhone(Phone):
    def report_delta(
        self, assignment: pb.Assignment, delta: FlatVector, examples: int = 1, **fields: float
    ) -> pb.ReportReply:
        return super().report_delta(assignment, delta, 65_536, steps=1)


@dataclass
class Scripted:
    """A population and a trainer in one; its clients send what the phones send."""

    declared: int
    clients_together = 1
    client_ids = (*HONEST, LIAR)
    evaluation: Any = ()

    def size(self, client: str) -> int:
        return self.declared if client == LIAR else 10

    def train(self, *asked: Any) -> Any:
        # The population's and the trainer's method bear the same name.
        if len(asked) == 1:
            return asked[0]
        clients, _, _, number = asked
        return (LocalUpdate(delta_of(client, number), reported(client)) for client, _ in clients)


def seed_that_draws_the_liar() -> int:
    """In every round."""
    ids = [*HONEST, LIAR]
    return next(
        seed
        for seed in range(100)
        if all(LIAR in draw_cohort(seed, n, ids)[:10] for n in range(1, ROUNDS + 1))
    )


@pytest.mark.parametrize(("declared", "weight"), [(10, 10), (2**31 - 1, 30)])
def test_laws_2_and_9_a_lying_phone_has_its_share_of_one_round_and_no_more(
    lab: Lab, declared: int, weight: int
) -> None:
    package, config = lab.package(SIZE), {**CONFIG, "seed": seed_that_draws_the_liar()}
    server, address = lab.serve(package, **config)
    phones = [lab.phone(address, name, train_examples=10) for name in HONEST]
    liar = LyingPhone(address, LIAR, declared)
    lab.phones.append(liar)
    lab.start_phones([*phones, liar], lambda phone, work: delta_of(phone.client_id, work.round))()
    assert server.coordinator.course.wait_finished(20)

    with closing(open_read_only(server.store_dir)) as store:
        rows = store.reports(work="train")
    first = [row for row in rows if row.number == 1]
    assert {row.examples for row in first if row.client_id != LIAR} == {10}
    assert [row.examples for row in first if row.client_id == LIAR] == [weight]
    assert weight <= 0.25 * sum(row.examples for row in first)
    later = [row for row in rows if row.client_id == LIAR and row.number > 1]
    assert [row.verdict for row in later] == [pb.VERDICT_NORM_TOO_LARGE] * (ROUNDS - 1)
    assert all("of the rounds before" in row.detail for row in later)
    assert all(row.verdict == pb.VERDICT_ACCEPTED for row in rows if row.client_id != LIAR)

    scripted = Scripted(declared)
    federation = Federation(
        "t",
        package.manifest,
        scripted.client_ids,
        TrainingPlan(),
        AlgorithmConfig.model_validate(config),
        InlinePool(scripted, scripted),  # type: ignore[arg-type]
        lambda _: {},
        scripted.size,
    )
    state = federation.start(package.weights())
    for number in range(1, ROUNDS + 1):
        state = federation.step(state)
        if number == 1:
            honest = [delta_of(r.client_id, 1) for r in first if r.client_id != LIAR]
            mean = (10 * np.sum(honest, axis=0) - 16 * weight) / (90 + weight)
            np.testing.assert_allclose(state.weights - package.weights(), mean, rtol=1e-5)
    assert state.refused == {"norm too large": ROUNDS - 1}
    served = load_weights(server.store_dir / WEIGHTS_FILE, package.manifest.parameters)
    assert served.tobytes() == state.weights.tobytes()


def test_law_4_a_restarted_server_has_the_same_cap_and_bound(lab: Lab) -> None:
    package, config = lab.package(SIZE), {"rounds": 3, "cohort_size": 5}
    names, norms = "abcde", {1: (1.0, 2.0, 3.0, 4.0, 5.0), 2: (10.0, 20.0, 29.0, 9.0, 8.0)}

    def report(phone: Phone, number: int) -> pb.ReportReply:
        delta = np.zeros(SIZE, np.float32)
        delta[0] = norms[number][names.index(phone.client_id)] / 2
        delta[1:4] = delta[0]
        work = phone.wait_for_work()
        assert work is not None
        assert work.round == number
        return phone.report_delta(work, delta, phone.train_examples)

    def phones_at(address: str) -> list[Phone]:
        return [lab.phone(address, name, train_examples=4) for name in names]

    server, address = lab.serve(package, **config)
    phones = phones_at(address)
    for phone in phones:
        phone.check_in()
    for number, some in ((1, phones), (2, phones[:2])):
        for phone in some:
            assert report(phone, number).verdict == pb.VERDICT_ACCEPTED
    before = server.coordinator.state
    assert before.rules.number == 2
    assert (before.influence.weight_cap, before.influence.norm_bound) == (5, 30.0)
    server.stop()

    server, address = lab.serve(package, **config)
    assert server.coordinator.state == before
    phones = phones_at(address)
    norms[2] = (*norms[2][:2], 31.0, *norms[2][3:])
    refused = report(phones[2], 2)
    assert refused.verdict == pb.VERDICT_NORM_TOO_LARGE
    assert "31: at most 30 wanted" in refused.detail
    norms[2] = (*norms[2][:2], 29.0, *norms[2][3:])
    for phone in phones[3:]:
        assert report(phone, 2).verdict == pb.VERDICT_ACCEPTED
    late = lab.phone(address, "f", train_examples=4)
    work = late.wait_for_work()
    assert work is not None
    assert late.report_delta(work, np.ones(SIZE, np.float32), 4).verdict == pb.VERDICT_ACCEPTED
    for phone in phones:
        phone.check_in()
    # Both rounds' norms: 1 to 5, and 10, 20, 9, 8, sqrt(8); half of them were read from the store.
    median = (5.0 + 4.0) / 2
    while server.coordinator.state.rules.number == 2 or not server.coordinator.state.places:
        phones[0].check_in()
    assert server.coordinator.state.influence.norm_bound == pytest.approx(10 * median)


def test_a_client_is_held_to_what_it_declared_when_it_was_given_the_work(lab: Lab) -> None:
    server, address = lab.serve(lab.package(SIZE), rounds=1, cohort_size=2)
    phone, other = lab.phone(address, "phone", train_examples=3), lab.phone(address, "other")
    other.check_in()
    work = phone.wait_for_work()
    assert work is not None
    phone.train_examples = 50
    assert phone.check_in().assignment.assignment_id == work.assignment_id
    assert phone.report_delta(work, np.ones(SIZE, np.float32), 50).verdict == pb.VERDICT_ACCEPTED
    with closing(open_read_only(server.store_dir)) as store:
        assert [row.examples for row in store.reports()] == [3]


def test_a_round_open_to_all_is_capped_by_those_who_may_come(lab: Lab) -> None:
    config = {"selection": "first", "cohort_size": 5, "min_population": 6}
    server, address = lab.serve(lab.package(SIZE), **config)
    for name, declared in [*((str(i), 10) for i in range(5)), (LIAR, 2**31 - 1)]:
        lab.phone(address, name, train_examples=declared).check_in()
    # Five of the six will come: c = 5/6 * (50 + c) / 4.
    assert server.coordinator.state.influence.weight_cap == 13


BOOKS = {"alpha": 1.0, "weights_bytes": 0, "local_epochs": 1, "batch_size": 1}


@pytest.mark.parametrize(
    "phases",
    ["", "c", "a", "caa", "ccccc", "cac", "cfa", "fcf", "caf", "ccacfcca"],
)
def test_law_4_the_norms_are_read_back_as_they_were_remembered(lab: Lab, phases: str) -> None:
    """c: committed with five updates, f: with four, a: abandoned."""
    store = open_store(lab.directory)
    remembered = NormHistory()
    for number, phase in enumerate(phases, start=1):
        store.open_round(StoredRound(number, "train", Phase.SELECTING, "", {}, BOOKS))
        norms = [float(number + i) for i in range(4 if phase == "f" else 5)]
        for i, norm in enumerate(norms):
            store.append_event(number, "train", {}, report=row_of(number, str(i), norm))
        ended = Phase.ABANDONED if phase == "a" else Phase.COMMITTED
        closing = Closing(ended, "", 0.0, 1.0, books=BOOKS)
        store.close_round(number, "train", closing).result(20)
        remembered = remembered.after(None if phase == "a" else norms)
    record = RoundRecord(store, None, TrafficBook())  # type: ignore[arg-type]
    assert record.read().norms == remembered
    store.close()


def row_of(number: int, client: str, norm: float) -> ReportRow:
    accepted = int(pb.VERDICT_ACCEPTED)
    told: dict[str, Any] = {"examples": 1, "steps": 1, "loss": 1.0, "train_secs": 1.0}
    memory = {"peak_memory_bytes": 1, "planned_memory_bytes": 1, "skipped_examples": 0}
    return ReportRow(
        client_id=client,
        report_id=f"{number}-{client}",
        assignment_id=f"{number}-{client}",
        number=number,
        work="train",
        verdict=accepted,
        detail="",
        received_secs=1.0,
        payload_digest="",
        payload_bytes=1,
        encoding="float32",
        update_norm=norm,
        **told,
        **memory,
    )

"""Whom a round invites."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedvoice.algorithm.rounds import RoundRules, Work
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.server.config import Gates, ServerConfig
from fedvoice.server.rounds.clients import ClientRegistry, gates_open
from fedvoice.server.store.database import open_store
from fedvoice.server.store.tables import ClientRow


def rules(work: Work) -> RoundRules:
    return RoundRules("job", 1, work, 2, 2, 0.5, lease_secs=30, timeout_secs=600)


@pytest.fixture
def population(tmp_path):
    config = ServerConfig(cohort_size=2, lease_secs=30)
    store = open_store(tmp_path)
    yield ClientRegistry(store, config, (), now=0.0)
    store.close()


def call(population, now, *names):
    for name in names:
        capabilities = pb.Capabilities(train_examples=3, test_examples=1)
        request = pb.CheckInRequest(client_id=name, capabilities=capabilities)
        population.register(request, now)


@pytest.mark.parametrize("work", list(Work))
def test_phones_that_stayed_away_for_a_lease_are_not_waited_for(population, work):
    call(population, 0.0, "a", "b", "c", "d")
    assert set(population.candidates(rules(work), 1.0)) == {"a", "b", "c", "d"}
    call(population, 40.0, "a", "c")
    assert set(population.candidates(rules(work), 41.0)) == {"a", "c"}


def test_all_are_invited_when_too_few_called_lately(population):
    call(population, 0.0, "a", "b", "c")
    call(population, 40.0, "a")
    assert set(population.candidates(rules(Work.TRAIN), 41.0)) == {"a", "b", "c"}


def says(registry, now, name, *rules):
    capabilities = pb.Capabilities(train_examples=3, client_rules=rules)
    return registry.register(pb.CheckInRequest(client_id=name, capabilities=capabilities), now)


def test_after_a_changed_rule_a_phone_is_not_invited_before_it_has_called_again(tmp_path, caplog):
    """What the store says of it was computed under the rule before."""
    config = ServerConfig(cohort_size=2, lease_secs=30)
    store = open_store(tmp_path)
    before = ClientRegistry(store, config, (), now=0.0)
    for name in "abc":
        says(before, 0.0, name)
    store.flush()
    same = ClientRegistry(store, config, (), now=0.0)
    assert set(same.candidates(rules(Work.TRAIN), 1.0)) == set("abc")
    assert all(row.capable for row in store.clients())

    changed = ClientRegistry(store, config, (), 10.0, TrainingPlan(client_rule="prox"))
    assert not any(row.capable for row in store.clients())
    for name in "bc":
        says(changed, 11.0, name, "prox")
    says(changed, 11.0, "a")  # lacks it, and says so now
    assert [r.message for r in caplog.records] == ["a gets no work: it lacks client rule prox"]
    assert set(changed.candidates(rules(Work.TRAIN), 12.0)) == {"b", "c"}

    store.flush()
    back = ClientRegistry(store, config, (), 20.0)
    assert back.candidates(rules(Work.TRAIN), 21.0) is None
    store.close()


def test_a_store_that_does_not_know_what_was_needed_is_taken_as_it_is(tmp_path):
    """Version 0.1.0 kept no such thing."""
    config = ServerConfig(cohort_size=2, lease_secs=30)
    store = open_store(tmp_path)
    row = ClientRow("a", 3, 0, "", capable=True, first_seen_secs=0.0)
    store.save_client(row).result()
    ClientRegistry(store, config, (), 0.0, TrainingPlan(client_rule="prox"))
    assert store.clients() == [replace(row, seen_day=0)]
    store.close()


def test_a_float32_job_needs_what_it_needed_before_downloads_had_encodings(tmp_path):
    """Stores of earlier versions of this release: their phones are invited as before."""
    store = open_store(tmp_path)
    store.set_meta({"needs": {"operators": [], "client_rule": ""}})
    row = ClientRow("a", 3, 0, "", capable=True, first_seen_secs=0.0)
    store.save_client(row).result()
    ClientRegistry(store, ServerConfig(cohort_size=1), (), 0.0)
    assert store.clients() == [replace(row, seen_day=0)]
    ClientRegistry(store, ServerConfig(cohort_size=1, download_encoding="int8"), (), 0.0)
    store.flush()
    assert not any(row.capable for row in store.clients())
    store.close()


def test_a_person_may_ask_for_work_unless_the_server_insists_on_its_gates():
    in_use = pb.Conditions(charging=True, unmetered=True)
    asked_for = pb.Conditions(charging=True, unmetered=True, overridden=True)
    assert not gates_open(Gates(), in_use)
    assert gates_open(Gates(), asked_for)
    assert not gates_open(Gates(overridable=False), asked_for)

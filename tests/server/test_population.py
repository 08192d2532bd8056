"""Whom a round invites."""

from __future__ import annotations

import pytest

from fedvoice.algorithm.rounds import RoundRules, Work
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.config import Gates, ServerConfig
from fedvoice.server.rounds.clients import ClientRegistry, gates_open
from fedvoice.server.store.database import open_store


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


def test_a_person_may_ask_for_work_unless_the_server_insists_on_its_gates():
    in_use = pb.Conditions(charging=True, unmetered=True)
    asked_for = pb.Conditions(charging=True, unmetered=True, overridden=True)
    assert not gates_open(Gates(), in_use)
    assert gates_open(Gates(), asked_for)
    assert not gates_open(Gates(overridable=False), asked_for)

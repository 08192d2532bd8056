"""The phones that a server knows of, and whether there are enough of them to begin a round."""

from __future__ import annotations

import logging

from fedvoice.algorithm.rounds import RoundRules, Work, draw_cohort
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.config import Gates, ServerConfig
from fedvoice.server.store.database import Store
from fedvoice.server.store.tables import ClientRow

log = logging.getLogger("fedvoice.server")

_NEEDS_META = "needs"
"""What `ClientRow.capable` was computed from. Stores of 0.1.0 lack it and are taken as they are."""


class ClientRegistry:
    """Not safe for several threads: the coordinator's lock guards it."""

    def __init__(
        self,
        store: Store,
        config: ServerConfig,
        operators: tuple[str, ...],
        now: float,
        client_rule: str = "",
    ) -> None:
        self._store, self._config, self._operators = store, config, set(operators)
        self._client_rule = client_rule
        needs = {"operators": sorted(operators), "client_rule": client_rule}
        stored = store.meta().get(_NEEDS_META)
        self._unasked: set[str] = set()
        """Clients that have not called since what the job needs was changed."""
        if stored not in (None, needs):
            self._unasked = store.forget_capabilities()
        if stored != needs:
            store.set_meta({_NEEDS_META: needs})
        self._clients = {row.client_id: row for row in store.clients()}
        self._seen_secs = dict.fromkeys(self._clients, now)
        self._fresh_secs = now

    def register(self, request: pb.CheckInRequest, now: float) -> ClientRow:
        """Note that a phone has called, durably if anything about it is new."""
        capabilities = request.capabilities
        known = self._clients.get(request.client_id)
        lacks = self._lacks(capabilities)
        news = known is None or known.capable or request.client_id in self._unasked
        self._unasked.discard(request.client_id)
        row = ClientRow(
            client_id=request.client_id,
            train_examples=capabilities.train_examples,
            test_examples=capabilities.test_examples,
            runtime_version=capabilities.runtime_version,
            capable=not lacks,
            first_seen_secs=known.first_seen_secs if known else now,
        )
        if row != known:
            self._store.save_client(row)
            self._clients[row.client_id] = row
        if lacks and news:
            log.warning("%s gets no work: it lacks %s", row.client_id, lacks)
        self._seen_secs[row.client_id] = now
        return row

    def _lacks(self, capabilities: pb.Capabilities) -> str:
        """What the job needs and a phone has not said that it has; empty: nothing."""
        operators = set(capabilities.operators)
        # An empty list means every stock operator.
        missing = self._operators - operators if operators else set()
        if missing:
            return f"operators {', '.join(sorted(missing))}"
        rule = self._client_rule
        # An empty list is also what phones say that are too old to know of rules.
        return f"client rule {rule}" if rule and rule not in capabilities.client_rules else ""

    def forget_who_is_there(self, now: float) -> None:
        """After an abandoned round a new one waits until enough phones have called again."""
        self._fresh_secs = now

    def _present(self, clients: set[str], now: float, enough: int) -> set[str]:
        """Those who called within a lease: others would miss an invitation, which is as long, and
        keep the round waiting. All of them if fewer than `enough` did."""
        earliest = now - self._config.lease_secs
        present = {client for client in clients if self._seen_secs[client] >= earliest}
        return present if present and len(present) >= enough else clients

    def trainers_seen(self) -> int:
        """Phones with training examples that can do the work and have called, since the last
        abandoned round if there was one."""
        return len(self._trainers() & self._fresh())

    def _trainers(self) -> set[str]:
        clients = self._clients.values()
        return {row.client_id for row in clients if row.capable and row.train_examples > 0}

    def _fresh(self) -> set[str]:
        return {c for c, seen in self._seen_secs.items() if seen >= self._fresh_secs}

    def candidates(self, rules: RoundRules, now: float) -> tuple[str, ...] | None:
        """Whom to invite to the round, in order (nobody if it is open to all); None: too few
        phones have called yet."""
        config = self._config
        capable = [row for row in self._clients.values() if row.capable]
        trainers = self._trainers()
        testers = {row.client_id for row in capable if row.test_examples > 0}
        fresh = self._fresh()
        enough_trainers = len(trainers & fresh) >= config.population_needed
        if rules.work is Work.TRAIN:
            if not enough_trainers:
                return None
            if rules.open_to_all:
                return ()
            return draw_cohort(
                config.seed, rules.number, self._present(trainers, now, config.population_needed)
            )
        # Before the first round an evaluation is what the phones meet first: it waits for as many
        # as training would. Later ones evaluate those who are there.
        if rules.number == 0 and not enough_trainers:
            return None
        if len(testers & fresh) < config.min_test_population:
            return None
        return tuple(sorted(self._present(testers, now, config.min_test_population)))


def gates_open(gates: Gates, conditions: pb.Conditions) -> bool:
    """Whether a phone's conditions allow work, or a person asked for it in spite of them."""
    if conditions.overridden and gates.overridable:
        return True
    return (
        (conditions.charging or not gates.charging)
        and (conditions.idle or not gates.idle)
        and (conditions.unmetered or not gates.unmetered)
    )

"""The phones that a server knows of, and whether there are enough of them to begin a round."""

from __future__ import annotations

import logging
from collections import OrderedDict

from fedvoice.algorithm.cohort import draw_cohort
from fedvoice.algorithm.events import Started
from fedvoice.algorithm.federated import FederatedAlgorithm
from fedvoice.algorithm.influence import NormHistory
from fedvoice.algorithm.rounds import RoundRules, Work
from fedvoice.protocol.codec import ENCODINGS_OF_0_1_0
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.server.config import Gates, ServerConfig
from fedvoice.server.rounds.pace import invitation_secs
from fedvoice.server.store.database import Store
from fedvoice.server.store.retention import DAY_SECS
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
        plan: TrainingPlan | None = None,
    ) -> None:
        self._store, self._config, self._operators = store, config, set(operators)
        plan = plan or TrainingPlan()
        self._client_rule = plan.client_rule
        self._encodings = {config.download_encoding, plan.update_encoding} - {"float32"}
        needs = {"operators": sorted(operators), "client_rule": plan.client_rule}
        if self._encodings:  # a job without them needs what it needed in earlier versions
            needs["encodings"] = sorted(self._encodings)
        stored = store.meta().get(_NEEDS_META)
        self._unasked: set[str] = set()
        """Clients that have not called since what the job needs was changed."""
        if stored not in (None, needs):
            self._unasked = store.forget_capabilities()
        if stored != needs:
            store.set_meta({_NEEDS_META: needs})
        store.date_clients(int(now // DAY_SECS))
        self._clients: dict[str, ClientRow] = {}
        self._trainers: set[str] = set()
        self._testers: set[str] = set()
        """Clients that can do the work and have examples to train on, or to test with."""
        self._fresh_trainers: set[str] = set()
        self._fresh_testers: set[str] = set()
        """Those of them that have called since the last abandoned round."""
        self._seen_secs: OrderedDict[str, float] = OrderedDict()
        """The client that called last is the last one."""
        for row in store.clients():
            self._note(row, now)

    @property
    def active(self) -> int:
        """Clients that have called within a day."""
        return len(self._seen_secs)

    def takes(self, client_id: str) -> bool:
        """Whether it is known, or there is room for one more."""
        return client_id in self._clients or len(self._clients) < self._config.keep.most_clients

    def knows(self, client_id: str) -> bool:
        """Whether it has checked in."""
        return client_id in self._clients

    def forget_absent(self, now: float) -> int:
        """Forget clients that have not called for `keep.clients_days`; how many those are."""
        days = self._config.keep.clients_days
        if not days:
            return 0
        before = int((now / DAY_SECS) - days)
        absent = [row.client_id for row in self._clients.values() if (row.seen_day or 0) < before]
        for client_id in absent:
            del self._clients[client_id]
            self._seen_secs.pop(client_id, None)
            for known in (
                self._trainers,
                self._testers,
                self._fresh_trainers,
                self._fresh_testers,
                self._unasked,
            ):
                known.discard(client_id)
        if absent:
            self._store.forget_clients(before)
        return len(absent)

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
            seen_day=int(now // DAY_SECS),
        )
        if row != known:
            self._store.save_client(row)
        if lacks and news:
            log.warning("%s gets no work: it lacks %s", row.client_id, lacks)
        self._note(row, now)
        return row

    def _note(self, row: ClientRow, now: float) -> None:
        """Keep what is known of a client in step; the cost does not grow with their number."""
        client = row.client_id
        self._clients[client] = row
        for examples, able, fresh in (
            (row.train_examples, self._trainers, self._fresh_trainers),
            (row.test_examples, self._testers, self._fresh_testers),
        ):
            if row.capable and examples > 0:
                able.add(client)
                fresh.add(client)
            else:
                able.discard(client)
                fresh.discard(client)
        self._seen_secs[client] = now
        self._seen_secs.move_to_end(client)
        while (oldest := next(iter(self._seen_secs.items())))[1] < now - DAY_SECS:
            del self._seen_secs[oldest[0]]

    def _lacks(self, capabilities: pb.Capabilities) -> str:
        """What the job needs and a phone has not said that it has; empty: nothing."""
        operators = set(capabilities.operators)
        # An empty list means every stock operator.
        missing = self._operators - operators if operators else set()
        if missing:
            return f"operators {', '.join(sorted(missing))}"
        rule = self._client_rule
        # An empty list is also what phones say that are too old to know of rules.
        if rule and rule not in capabilities.client_rules:
            return f"client rule {rule}"
        unknown = self._encodings - set(capabilities.encodings or ENCODINGS_OF_0_1_0)
        return f"encoding {', '.join(sorted(unknown))}" if unknown else ""

    def forget_who_is_there(self) -> None:
        """After an abandoned round a new one waits until enough phones have called again."""
        self._fresh_trainers.clear()
        self._fresh_testers.clear()

    def trainers_seen(self) -> int:
        """Phones with training examples that can do the work and have called, since the last
        abandoned round if there was one."""
        return len(self._fresh_trainers)

    def candidates(self, rules: RoundRules, now: float) -> tuple[str, ...] | None:
        """Whom to invite to the round, in order (nobody if it is open to all); None: too few
        phones have called yet."""
        config = self._config
        enough_trainers = len(self._fresh_trainers) >= config.population_needed
        if rules.work is Work.TRAIN:
            if not enough_trainers:
                return None
            if rules.open_to_all:
                return ()
            present = self._present(self._trainers, now, config.population_needed)
            return draw_cohort(config.seed, rules.number, present, rules.places)
        # Before the first round an evaluation is what the phones meet first: it waits for as many
        # as training would. Later ones evaluate those who are there.
        if rules.number == 0 and not enough_trainers:
            return None
        if len(self._fresh_testers) < config.min_test_population:
            return None
        return tuple(sorted(self._present(self._testers, now, config.min_test_population)))

    def started(
        self, rules: RoundRules, now: float, algorithm: FederatedAlgorithm, norms: NormHistory
    ) -> Started | None:
        """The round's beginning, with the limits of each client's update; None: too few phones have
        called yet. norms: of the rounds before."""
        candidates = self.candidates(rules, now)
        if candidates is None or rules.work is Work.EVALUATE:
            return None if candidates is None else Started(now, candidates)
        declared = self._declared(rules, candidates, now)
        return algorithm.started(rules, now, candidates, declared, norms)

    def _declared(self, rules: RoundRules, candidates: tuple[str, ...], now: float) -> list[int]:
        """Training examples of the clients that a round invites first; of those that may come, if
        it is open to all."""
        config = self._config
        if rules.open_to_all:
            present = self._present(self._trainers, now, config.population_needed)
            drawn = draw_cohort(config.seed, rules.number, present, rules.places)
        else:
            drawn = candidates[: rules.places]
        return [self._clients[client].train_examples for client in drawn]

    def _present(self, clients: set[str], now: float, enough: int) -> set[str]:
        """Those who called within a lease, or within the time in which all are told to call:
        others would miss an invitation, which is as long, and keep the round waiting. All of them
        if fewer than `enough` did."""
        earliest = now - invitation_secs(self._config, self.active)
        present = set()
        for client, seen in reversed(self._seen_secs.items()):
            if seen < earliest:
                break
            if client in clients:
                present.add(client)
        return present if present and len(present) >= enough else clients


def may_work(client: ClientRow, work: Work, gates: Gates, conditions: pb.Conditions) -> bool:
    """Whether a client could do such work now. It need not be invited, but training needs
    examples."""
    nothing_to_do = work is Work.TRAIN and client.train_examples == 0
    return client.capable and not nothing_to_do and gates_open(gates, conditions)


def gates_open(gates: Gates, conditions: pb.Conditions) -> bool:
    """Whether a phone's conditions allow work, or a person asked for it in spite of them."""
    if conditions.overridden and gates.overridable:
        return True
    return (
        (conditions.charging or not gates.charging)
        and (conditions.idle or not gates.idle)
        and (conditions.unmetered or not gates.unmetered)
    )

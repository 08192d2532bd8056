"""Rounds in the store: written as they happen, read back after a restart (law 4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from itertools import islice, takewhile

from sqlalchemy import Connection

from fedvoice.algorithm import events, rounds
from fedvoice.algorithm.influence import FEWEST, NO_NORMS, WINDOW, NormHistory
from fedvoice.algorithm.rounds import Phase, RoundRules, RoundState, Work
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.rounds.job import Job
from fedvoice.server.store.database import Store
from fedvoice.server.store.ledger import (
    CLOSING,
    Evaluated,
    SoFar,
    Trained,
    closing_sums,
    evaluated,
    trained,
)
from fedvoice.server.store.retention import drop_rows_before
from fedvoice.server.store.rows import upsert_rows
from fedvoice.server.store.tables import (
    AssignmentRow,
    Closing,
    EvaluationRow,
    ReportRow,
    StoredRound,
)
from fedvoice.server.store.traffic import TrafficBook


@dataclass(frozen=True)
class Stored:
    """The state of a job's rounds, as read from its store.

    committed: the last training round that changed the model; 0: none. last: the last closed
    round, if none is open. open_round: the state of an open one, stepped through its journal.
    norms: what the next round's norm bound follows from.
    """

    committed: int
    last: tuple[int, Work] | None
    open_round: RoundState | None
    norms: NormHistory


class RoundRecord:
    """The only writer of rounds, events and reports; its caller holds the state's lock. What it
    returns is done when the rows are in the store."""

    def __init__(self, store: Store, job: Job, traffic: TrafficBook) -> None:
        self._store, self._job, self._traffic = store, job, traffic
        self._best: tuple[float, int] | None = None
        self._telling: deque[int] = deque(maxlen=WINDOW)
        """Rounds whose norms the next round's bound follows from, the latest one last."""
        self._unsummed: list[StoredRound] = []
        """Rounds of a version that stored no sums: they have their rows alone."""
        self._so_far = SoFar()
        self._weights_bytes = 0
        """Of the open round: its model is not the present one any more when it is closed."""

    @property
    def best(self) -> int | None:
        """The round whose weights had the lowest word error rate; None: none was evaluated."""
        return None if self._best is None else self._best[1]

    def read(self) -> Stored:
        """The job's state; after a crash exactly what was acknowledged."""
        stored = self._store.rounds()
        over = [row for row in stored if row.phase in (Phase.COMMITTED, Phase.ABANDONED)]
        for row in over:
            if row.work == Work.EVALUATE:
                self._compare(row.number, evaluated(self._store, row))
            else:
                self._so_far = self._so_far.added(trained(self._store, row))
        self._unsummed = [row for row in over if CLOSING not in row.books]
        done = [r.number for r in stored if r.work == Work.TRAIN and r.phase == Phase.COMMITTED]
        committed = done[-1] if done else 0
        norms = self._norms(stored)
        last = stored[-1] if stored else None
        if last is None or last.phase in (Phase.COMMITTED, Phase.ABANDONED):
            return Stored(committed, (last.number, Work(last.work)) if last else None, None, norms)
        self._weights_bytes = last.books["weights_bytes"]
        state = RoundState(RoundRules(**{**last.rules, "work": Work(last.work)}))
        for fields in self._store.journal():
            state, _ = rounds.step(state, events.event_from_dict(fields))
        return Stored(committed, None, state, norms)

    def norms(self, number: int) -> list[float]:
        """Of the accepted updates of a training round."""
        accepted = int(pb.VERDICT_ACCEPTED)
        reports = self._store.reports(number=number, work=Work.TRAIN.value, verdict=accepted)
        return [report.update_norm for report in reports]

    def _norms(self, stored: Sequence[StoredRound]) -> NormHistory:
        """As `NormHistory.after` makes it round by round; the last rounds' reports alone are
        read."""
        phases = {row.number: row.phase for row in stored if row.work == Work.TRAIN}
        closed = [n for n, phase in phases.items() if phase in (Phase.COMMITTED, Phase.ABANDONED)]
        later = tuple(takewhile(lambda n: phases[n] == Phase.ABANDONED, reversed(closed)))
        committed = (n for n in reversed(closed) if phases[n] == Phase.COMMITTED)
        found = ((n, own) for n in committed if len(own := self.norms(n)) >= FEWEST)
        history = NO_NORMS
        for number, own in reversed(list(islice(found, WINDOW))):
            self._telling.append(number)
            history = history.after(own)
        return replace(history, abandoned=len(later))

    def accepted(self, rules: RoundRules) -> list[ReportRow]:
        """The accepted reports of a round."""
        return self._store.reports(
            number=rules.number, work=rules.work.value, verdict=int(pb.VERDICT_ACCEPTED)
        )

    def event(
        self,
        state: RoundState,
        event: events.Event,
        commands: Sequence[events.Command],
        *,
        report: ReportRow | None = None,
        evaluation: EvaluationRow | None = None,
    ) -> Future[None]:
        """Record an event that led to `state`, with its rows, in one transaction."""
        rules = state.rules
        granted = [c for c in commands if isinstance(c, events.Grant)]
        assignment = None
        if granted:
            own = granted[0]
            assignment = AssignmentRow(
                own.assignment_id, rules.number, rules.work, own.client_id, event.time_secs
            )
        return self._store.append_event(
            rules.number,
            rules.work,
            events.event_to_dict(event),
            assignment=assignment,
            report=report,
            evaluation=evaluation,
            traffic=self._traffic.drain() if report is not None else (),
        )

    def opened(self, rules: RoundRules, weights_bytes: int) -> RoundState:
        """Record a new round, with an empty journal. weights_bytes: as its clients download
        them."""
        self._weights_bytes = weights_bytes
        self._store.open_round(
            StoredRound(
                number=rules.number,
                work=rules.work,
                phase=Phase.SELECTING,
                ending="",
                rules=asdict(rules),
                books=self._job.books(rules.number, weights_bytes),
            )
        )
        return RoundState(rules)

    def closed(self, state: RoundState, ended_secs: float, weights_digest: str) -> Future[None]:
        """Record how a round ended."""
        number, work = state.rules.number, state.rules.work
        books = self._job.books(number, self._weights_bytes)
        sums = closing_sums(self._store, number, work, books)
        if work is Work.EVALUATE:
            self._compare(number, Evaluated(**sums))
        else:
            self._so_far = self._so_far.added(Trained(**sums))
            sums = self._so_far.kept_with(sums)
            if state.phase is Phase.COMMITTED and len(state.accepted) >= FEWEST:
                self._telling.append(number)
        return self._store.close_round(
            number,
            work,
            Closing(
                books={**books, CLOSING: sums},
                phase=state.phase,
                ending=state.ending or "",
                started_secs=state.started_secs,
                ended_secs=ended_secs,
                weights_digest=weights_digest,
                traffic=self._traffic.drain(),
            ),
            self._dropping(number) if work is Work.TRAIN else None,
        )

    def _dropping(self, number: int) -> Callable[[Connection], None] | None:
        """Deletes the clients' rows that are too old when round `number` closes."""
        kept = self._job.config.keep.rows_of_rounds
        before = number - kept + 1
        if not kept or before <= 0:
            return None
        telling = tuple(self._telling)
        unsummed = [
            replace(row, books={**row.books, CLOSING: sums})
            for row in self._unsummed
            if row.number < before
            for sums in [closing_sums(self._store, row.number, row.work, row.books)]
        ]
        self._unsummed = [row for row in self._unsummed if row.number >= before]

        def drop(connection: Connection) -> None:
            upsert_rows(connection, unsummed)
            drop_rows_before(connection, before, telling)

        return drop

    def _compare(self, number: int, errors: Evaluated) -> None:
        if errors.words:
            rate = errors.word_errors / errors.words
            self._best = min(self._best or (rate, number), (rate, number))

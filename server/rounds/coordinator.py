"""Runs the rounds: turns calls and time into events of the state machine, and runs its commands.

One lock guards the state. Events are handed to the store's writer under the lock, in their order,
and waited for without it: every event that changed the state is in the journal before any caller
gets an answer that depends on it. A report's event is written together with the report, after its
payload was synced and before it is folded; `resume` therefore finds exactly what was acknowledged
(law 4).

Committing is done by the ticker's thread without the lock: in that phase nothing else touches the
accumulator or the model.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from fedvoice.algorithm import rounds
from fedvoice.algorithm.links import Pieces
from fedvoice.algorithm.rounds import Phase, RoundRules, RoundState, Work
from fedvoice.algorithm.schedule import following, rules_for
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.rounds import pace
from fedvoice.server.rounds.clients import ClientRegistry, gates_open
from fedvoice.server.rounds.job import Job
from fedvoice.server.rounds.record import RoundRecord
from fedvoice.server.rounds.sums import Accepted, RoundSum
from fedvoice.server.store.blobs import BlobStore
from fedvoice.server.store.database import Store
from fedvoice.server.store.model import CurrentModel
from fedvoice.server.store.tables import AssignmentRow, EvaluationRow, ReportRow, TrafficKind
from fedvoice.server.store.traffic import TrafficBook

log = logging.getLogger("fedvoice.server")

RoundListener = Callable[[RoundState], None]
WRITE_SECS = 120.0
"""Longest wait for the store's writer; a disk that takes longer stops the server."""


class Coordinator:
    """The job's state and the only writer of its store."""

    def __init__(
        self,
        job: Job,
        store: Store,
        blobs: BlobStore,
        model: CurrentModel,
        clock: Callable[[], float],
        listener: RoundListener | None = None,
    ) -> None:
        self.job, self._store, self._blobs, self._model = job, store, blobs, model
        self._clock, self._listener = clock, listener
        self.traffic = TrafficBook()
        self._record = RoundRecord(store, job, self.traffic)
        self._sum = RoundSum(job, blobs)
        self._changed = threading.Condition(threading.RLock())
        self._clients = ClientRegistry(
            store, job.config, job.manifest.operators, clock(), job.plan.client_rule
        )
        self.on_round_over: Callable[[RoundRules], None] = lambda rules: None
        """Told, under the lock, that a round takes no more reports."""
        self._durations: dict[Work, float] = {}
        self._folding = 0  # accepted reports on their way into the accumulator
        self._stopping = False
        self._failure: BaseException | None = None
        self._finished = False
        self._written: Future[None] = Future()
        """Of the latest event, and so of all before it."""
        self._written.set_result(None)
        self._resume()

    # Clients' requests

    def check_in(self, request: pb.CheckInRequest) -> pb.CheckInReply:
        """An assignment, or when to call again."""
        reply, written = self._checked_in(request)
        if reply.HasField("assignment"):
            self._wait(written)
        return reply

    def _checked_in(self, request: pb.CheckInRequest) -> tuple[pb.CheckInReply, Future[None]]:
        with self._changed:
            now = self._clock()
            client = self._clients.register(request, now)
            if self._finished:
                return pb.CheckInReply(retry=pace.FINISHED.to_message()), self._written
            self._start_if_ready(now)
            # A client that was not invited may take a place, too, but training needs examples.
            nothing_to_do = self._state.rules.work is Work.TRAIN and client.train_examples == 0
            if (
                client.capable
                and not nothing_to_do
                and gates_open(self.job.config.gates, request.conditions)
            ):
                event = rounds.CheckedIn(now, client.client_id, client.train_examples)
                for command in self._step(event):
                    if isinstance(command, rounds.Grant):
                        given = self.job.assignment(self._state.rules, command, self._model.blob)
                        return pb.CheckInReply(assignment=given), self._written
            return pb.CheckInReply(retry=self._retry(now)), self._written

    def retry(self) -> pb.RetryWindow:
        """When a client that has reported should call again."""
        with self._changed:
            return pace.FINISHED.to_message() if self._finished else self._retry(self._clock())

    def assignment(self, client_id: str, assignment_id: str) -> AssignmentRow | None:
        """A client's assignment in any round of this job."""
        if not assignment_id:
            return None
        with self._changed:
            rules, place = self._state.rules, self._state.places.get(client_id)
        if place is not None and place.assignment_id == assignment_id:
            return AssignmentRow(assignment_id, rules.number, rules.work, client_id, 0.0)
        row = self._store.assignment(assignment_id)
        return row if row is not None and row.client_id == client_id else None

    def lease_secs(self, client_id: str, assignment_id: str) -> float | None:
        """What is left of the client's lease; None: it has ended, or its round has."""
        with self._changed:
            now = self._clock()
            self._step(rounds.Ticked(now))
            if not rounds.may_report(self._state, client_id, assignment_id, now):
                return None
            place = self._state.places[client_id]
            return min(place.expires_secs, self._state.deadline_secs) - now

    def weighed(self, client_id: str, work: AssignmentRow, examples: int) -> tuple[int, float]:
        """What an update of n_k = `examples` counts with, and the bound on its norm (0: none)."""
        state = self.state
        if work.work != Work.TRAIN or (work.number, work.work) != (
            state.rules.number,
            state.rules.work,
        ):
            return examples, 0.0  # no update, or one that will be late
        return rounds.weight_of(state, client_id, examples), state.influence.norm_bound

    def accept(
        self, report: ReportRow, evaluation: EvaluationRow | None, pieces: Pieces | None = None
    ) -> Accepted | None:
        """Record a valid report; None if its lease ran out meanwhile. It is not acknowledged, and
        its round not committed, before `fold`.

        The payload is stored and synced, and may also lie in memory (`pieces`). What is recorded
        here is never counted twice: the place is taken by the first report.
        """
        with self._changed:
            now = self._clock()
            self._step(rounds.Ticked(now))
            if not rounds.may_report(self._state, report.client_id, report.assignment_id, now):
                return None
            self._step(
                rounds.ReportAccepted(now, report.client_id), report=report, evaluation=evaluation
            )
            total = self._sum.open() if report.work == Work.TRAIN else None
            self._folding += 1
            return Accepted(report, total, pieces, self._written)

    def fold(self, accepted: Accepted) -> None:
        """Wait until it is recorded durably, and add it to the round's sum."""
        try:
            self._wait(accepted.written)
            if accepted.total is not None:
                self._sum.fold(accepted.report, accepted.total, accepted.pieces)
        except BaseException as error:
            # Recorded but not in the sum: the round must not be committed. A restart folds again.
            self.fail(error)
            raise
        with self._changed:
            self._folding -= 1
            self._changed.notify_all()

    def reject(self, report: ReportRow) -> None:
        """Record a report that is refused for good; its place is given away."""
        with self._changed:
            now = self._clock()
            if rounds.may_report(self._state, report.client_id, report.assignment_id, now):
                self._step(rounds.ReportRejected(now, report.client_id), report=report)
            written = self._written
        self._wait(written)

    def _wait(self, written: Future[None]) -> None:
        """Wait until an event is in the store.

        Raises:
            FedvoiceError: `store-full`; whatever is raised stops the server.
        """
        try:
            written.result(WRITE_SECS)
        except BaseException as error:
            self.fail(error)
            raise

    def traffic_kind(self, client_id: str, assignment_id: str = "") -> tuple[int, TrafficKind]:
        """(round, kind) under which a client's bytes are booked."""
        row = self.assignment(client_id, assignment_id)
        if row is not None:
            return row.number, TrafficKind(row.work)
        with self._changed:
            rules = self._state.rules
            place = self._state.places.get(client_id)
            if place is not None and place.assignment_id:
                return rules.number, TrafficKind(rules.work.value)
            return rules.number, TrafficKind.IDLE

    # The ticker

    def tick(self) -> float:
        """Advance the time, end a round that is due; seconds until the next call is needed."""
        with self._changed:
            if self._finished:
                return 1.0
            self._step(rounds.Ticked(self._clock()))
            if self._due():
                # A handler may still be folding a report of this round.
                self._changed.wait_for(lambda: self._folding == 0 or self._failure)
            if self._failure is not None:
                return 1.0
            state = self._state
        if state.phase is Phase.COMMITTING:
            state = self._commit(state)
        elif state.phase is Phase.ABANDONED:
            self._close(state, weights_digest="")
        if state.closed:
            if self._listener is not None:
                self._listener(state)
            self._finish_if_last((state.rules.number, state.rules.work))
        with self._changed:
            deadline = rounds.next_deadline(self._state)
            return 1.0 if deadline is None else min(1.0, max(0.0, deadline - self._clock()))

    def flush_traffic(self) -> None:
        """Store the byte counts; also done when a round is closed."""
        rows = self.traffic.drain()
        if rows:
            self._wait(self._store.add_traffic(rows))

    def fail(self, failure: BaseException) -> None:
        """Stop with an error, which `wait_finished` raises."""
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def sleep(self, secs: float) -> None:
        """Wait for at most `secs`, less if a round is to be closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._due(), secs)

    def _due(self) -> bool:
        over = self._state.phase in (Phase.COMMITTING, Phase.ABANDONED)
        return over and not self._finished and self._failure is None

    def end_sleep(self) -> None:
        """The ticker is to stop: `sleep` returns at once from now on."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def wait_finished(self, timeout_secs: float | None) -> bool:
        """True when all rounds are done; False at the timeout.

        Raises:
            FedvoiceError: what stopped the server, e.g. `store-full`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._finished or self._failure, timeout_secs)
            if self._failure is not None:
                raise self._failure
            return self._finished

    def waiting_for(self) -> tuple[int, int] | None:
        """Phones seen and phones that the next round needs; None: enough are there."""
        with self._changed:
            if self._state.phase is not Phase.SELECTING or self._finished:
                return None
            seen, needed = self._clients.trainers_seen(), self.job.config.population_needed
        return (seen, needed) if seen < needed else None

    @property
    def state(self) -> RoundState:
        """The present round, or the last one."""
        with self._changed:
            return self._state

    @property
    def finished(self) -> bool:
        """Whether all rounds are done."""
        return self._finished

    # Internal

    def _resume(self) -> None:
        stored = self._record.read()
        self._model.load(stored.committed)
        self._norms = stored.norms
        if stored.open_round is None:
            self._state = RoundState(RoundRules(self.job.name, 0, Work.TRAIN, 0, 0, 1, 1, 1))
            self._blobs.remove_files(self._blobs.round_files())
            self._open_after(stored.last)
            self._finish_if_last(stored.last)
            return
        self._state = stored.open_round
        rules = self._state.rules
        accepted = self._record.accepted(rules)
        if rules.work is Work.TRAIN:
            for report in accepted:
                self._sum.fold(report, self._sum.open())
        log.info(
            "resumed round=%d work=%s accepted=%d", rules.number, rules.work.value, len(accepted)
        )

    def _start_if_ready(self, now: float) -> None:
        if self._state.phase is Phase.SELECTING and not self._finished:
            algorithm = self.job.algorithm
            started = self._clients.started(self._state.rules, now, algorithm, self._norms)
            if started is not None:
                self._step(started)

    def _step(
        self,
        event: rounds.Event,
        *,
        report: ReportRow | None = None,
        evaluation: EvaluationRow | None = None,
    ) -> tuple[rounds.Command, ...]:
        before = self._state
        state, commands = rounds.step(before, event)
        if state != before:
            self._written = self._record.event(
                state, event, commands, report=report, evaluation=evaluation
            )
            self._state = state
        if any(isinstance(c, rounds.Commit | rounds.Abandon) for c in commands):
            self._changed.notify_all()
            self.on_round_over(state.rules)
        return commands

    def _retry(self, now: float) -> pb.RetryWindow:
        last = self._durations.get(self._state.rules.work)
        wait = pace.expected_wait_secs(self._state, last, now)
        return pace.window(self.job.config, wait, self._clients.active).to_message()

    def _commit(self, state: RoundState) -> RoundState:
        digest = ""
        if state.rules.work is Work.TRAIN:
            delta = self._sum.take_delta(lambda: self._record.accepted(state.rules))
            digest = self._model.advance(delta, state.rules.number)
            self._norms = self._norms.after(self._record.norms(state.rules.number))
        state, _ = rounds.step(state, rounds.Committed(self._clock()))
        self._close(state, weights_digest=digest)
        if digest:
            self._model.publish()
        return state

    def _close(self, state: RoundState, *, weights_digest: str) -> None:
        with self._changed:
            now = self._clock()
            rules = state.rules
            written = self._record.closed(state, now, weights_digest)
            self._state = state
            self._sum.drop()
            stale = self._blobs.round_files()
            if state.phase is Phase.COMMITTED:
                self._durations[rules.work] = now - state.started_secs
            elif rules.work is Work.TRAIN:
                self._norms = self._norms.after(None)
                self._clients.forget_who_is_there()
            log.info(
                "round=%d work=%s %s by %s accepted=%d of %d",
                rules.number,
                rules.work,
                state.phase,
                state.ending,
                len(state.accepted),
                state.goal,
            )
            self._open_after((rules.number, rules.work))
        self._wait(written)
        # Without the lock: unlinking many megabytes takes its time.
        self._blobs.remove_files(stale)

    def _open_after(self, last: tuple[int, Work] | None) -> None:
        coming = following(self.job.config, last)
        if coming is None:
            return
        rules = replace(
            rules_for(self.job.config, self.job.name, *coming),
            invitation_secs=pace.invitation_secs(self.job.config, self._clients.active),
        )
        self._state = self._record.opened(rules)
        self._start_if_ready(self._clock())

    def _finish_if_last(self, last: tuple[int, Work] | None) -> None:
        # Apart from `_open_after`: the listener gets the last round's row before `wait_finished`
        # returns.
        if following(self.job.config, last) is None:
            with self._changed:
                self._finished = True
                self._changed.notify_all()

"""Runs the rounds: turns calls and time into events of the state machine, and does as it commands.

One lock guards the state. Every event that changed the state is in the journal before anybody is
told of it, and a report's event is written together with the report, after its payload was synced
and before it is folded; `resume` therefore finds exactly what was acknowledged (law 4).

Committing is done by the ticker's thread without the lock: in that phase nothing else touches the
accumulator or the model.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass

from protocol.codec import encode
from protocol.generated import fedvoice_pb2 as pb
from protocol.parameters import FlatVector
from protocol.plan import TrainingPlan
from protocol.task import TaskManifest
from server import optimizers, pace, rounds
from server.aggregation import Accumulator
from server.blobs import BlobStore, payload_key
from server.config import ServerConfig
from server.model import Model, ModelFiles
from server.payloads import read_payload
from server.rounds import Phase, RoundRules, RoundState, Work
from server.schedule import following, rules_for
from server.store import Store
from server.tables import (
    AssignmentRow,
    ClientRow,
    Closing,
    EvaluationRow,
    ReportRow,
    StoredRound,
    TrafficKind,
)
from server.traffic import TrafficBook

log = logging.getLogger("fedvoice.server")

WEIGHTS_ENCODING = "float32"
RoundListener = Callable[[RoundState], None]


@dataclass(frozen=True)
class Job:
    """What stays the same from the first round to the last."""

    name: str
    config: ServerConfig
    manifest: TaskManifest
    plan: TrainingPlan
    manifest_blob: pb.Blob
    program_blob: pb.Blob

    @property
    def size(self) -> int:
        """P."""
        return self.manifest.parameters.total_size


class Coordinator:
    """The job's state and the only writer of its store."""

    def __init__(
        self,
        job: Job,
        store: Store,
        blobs: BlobStore,
        files: ModelFiles,
        clock: Callable[[], float],
        listener: RoundListener | None = None,
    ) -> None:
        self.job, self._store, self._blobs, self._files = job, store, blobs, files
        self._clock, self._listener = clock, listener
        self.traffic = TrafficBook()
        self._changed = threading.Condition(threading.RLock())
        self._clients = {row.client_id: row for row in store.clients()}
        self._seen_secs = dict.fromkeys(self._clients, clock())
        self._fresh_secs = 0.0  # after an abandoned round only phones seen since then count
        self._durations: dict[Work, float] = {}
        self._accumulator: Accumulator | None = None
        self._folding = 0  # accepted reports on their way into the accumulator
        self._stopping = False
        self._failure: BaseException | None = None
        self._finished = False
        self._resume()

    # What phones ask for

    def check_in(self, request: pb.CheckInRequest) -> pb.CheckInReply:
        """An assignment, or when to call again."""
        with self._changed:
            now = self._clock()
            client = self._register(request, now)
            if self._finished:
                return pb.CheckInReply(retry=pace.FINISHED.to_message())
            self._start_if_ready(now)
            # Whoever comes may take a place in an open round, but training needs examples.
            nothing_to_do = self._state.rules.open_to_all and client.train_examples == 0
            if client.capable and not nothing_to_do and self._may_work(request.conditions):
                for command in self._step(rounds.CheckedIn(now, client.client_id)):
                    if isinstance(command, rounds.Grant):
                        return pb.CheckInReply(assignment=self._assignment(command))
            return pb.CheckInReply(retry=self._retry(now))

    def retry(self) -> pb.RetryWindow:
        """When a phone that has reported should call again."""
        with self._changed:
            return pace.FINISHED.to_message() if self._finished else self._retry(self._clock())

    def assignment(self, assignment_id: str) -> AssignmentRow | None:
        """A grant of any round of this job."""
        return self._store.assignment(assignment_id) if assignment_id else None

    def holds(self, client_id: str, assignment_id: str) -> bool:
        """Whether the client's lease runs and its round takes reports."""
        with self._changed:
            now = self._clock()
            self._step(rounds.Ticked(now))
            return rounds.may_report(self._state, client_id, assignment_id, now)

    def accept(self, report: ReportRow, evaluation: EvaluationRow | None) -> bool:
        """Record a good report for ever and fold it; False if its lease ran out meanwhile.

        The payload lies synced at its place. What is recorded here is never counted twice: the
        place is gone with the first report.
        """
        with self._changed:
            now = self._clock()
            self._step(rounds.Ticked(now))
            if not rounds.may_report(self._state, report.client_id, report.assignment_id, now):
                return False
            self._step(
                rounds.ReportAccepted(now, report.client_id), report=report, evaluation=evaluation
            )
            if report.work != Work.TRAIN:
                return True
            accumulator = self._open_accumulator()
            self._folding += 1
        try:
            self._fold(report, accumulator)
        except BaseException as error:
            # Recorded but not in the sum: the round must not be committed. A restart folds again.
            self.fail(error)
            raise
        with self._changed:
            self._folding -= 1
            self._changed.notify_all()
        return True

    def reject(self, report: ReportRow) -> None:
        """Record a report that will not get better; its place is given away."""
        with self._changed:
            now = self._clock()
            if rounds.may_report(self._state, report.client_id, report.assignment_id, now):
                self._step(rounds.ReportRejected(now, report.client_id), report=report)

    def traffic_kind(self, client_id: str, assignment_id: str = "") -> tuple[int, TrafficKind]:
        """(round, kind) under which a phone's bytes are booked."""
        if assignment_id:
            row = self.assignment(assignment_id)
            if row is not None and row.client_id == client_id:
                return row.number, TrafficKind(row.work)
        with self._changed:
            rules = self._state.rules
            place = self._state.places.get(client_id)
            if place is not None and place.assignment_id:
                return rules.number, TrafficKind(rules.work.value)
            return rules.number, TrafficKind.IDLE

    # What the ticker does

    def tick(self) -> float:
        """Let time pass, close a round that is due; seconds until the next call is needed."""
        with self._changed:
            if self._finished:
                return 1.0
            self._step(rounds.Ticked(self._clock()))
            if self._state.phase is Phase.COMMITTING:
                # A handler may still be folding the report that reached the goal.
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
            self._store.add_traffic(rows)

    def fail(self, failure: BaseException) -> None:
        """Give up: `wait_finished` raises this."""
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def sleep(self, secs: float) -> None:
        """Wait for at most `secs`, less if a round is to be closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._state.phase in (Phase.COMMITTING, Phase.ABANDONED) and not self._finished
                ),
                secs,
            )

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

    @property
    def state(self) -> RoundState:
        """The present round, or the last one."""
        with self._changed:
            return self._state

    @property
    def finished(self) -> bool:
        """Whether all rounds are done."""
        return self._finished

    # Inside

    def _resume(self) -> None:
        stored = self._store.rounds()
        done = [
            row.number for row in stored if row.work == Work.TRAIN and row.phase == Phase.COMMITTED
        ]
        self._install(self._files.load(done[-1] if done else 0))
        self._files.publish(self._model)
        last = stored[-1] if stored else None
        if last is None or last.phase in (Phase.COMMITTED, Phase.ABANDONED):
            self._state = RoundState(RoundRules(self.job.name, 0, Work.TRAIN, 0, 0, 1, 1, 1))
            self._blobs.remove_files(self._blobs.round_files())
            before = (last.number, Work(last.work)) if last else None
            self._open_after(before)
            self._finish_if_last(before)
            return
        work = Work(last.work)
        state = RoundState(RoundRules(**{**last.rules, "work": work}))
        for fields in self._store.journal():
            state, _ = rounds.step(state, rounds.event_from_dict(fields))
        self._state = state
        accepted = self._store.reports(
            number=last.number, work=last.work, verdict=int(pb.VERDICT_ACCEPTED)
        )
        if work is Work.TRAIN:
            for report in accepted:
                self._fold(report, self._open_accumulator())
        log.info("resumed round=%d work=%s accepted=%d", last.number, work, len(accepted))

    def _install(self, model: Model) -> None:
        data = encode(model.weights, WEIGHTS_ENCODING)
        digest = self._blobs.put(data)
        self._model = model
        self._weights_blob = pb.Blob(digest=digest, size_bytes=len(data), encoding=WEIGHTS_ENCODING)

    def _register(self, request: pb.CheckInRequest, now: float) -> ClientRow:
        capabilities = request.capabilities
        known = self._clients.get(request.client_id)
        operators = set(capabilities.operators)
        row = ClientRow(
            client_id=request.client_id,
            train_examples=capabilities.train_examples,
            test_examples=capabilities.test_examples,
            runtime_version=capabilities.runtime_version,
            # An empty list means every stock operator.
            capable=not operators or operators >= set(self.job.manifest.operators),
            first_seen_secs=known.first_seen_secs if known else now,
        )
        if row != known:
            self._store.save_client(row)
            self._clients[row.client_id] = row
        self._seen_secs[row.client_id] = now
        return row

    def _may_work(self, conditions: pb.Conditions) -> bool:
        gates = self.job.config.gates
        return (
            (conditions.charging or not gates.charging)
            and (conditions.idle or not gates.idle)
            and (conditions.unmetered or not gates.unmetered)
        )

    def _start_if_ready(self, now: float) -> None:
        if self._state.phase is not Phase.SELECTING or self._finished:
            return
        config, rules = self.job.config, self._state.rules
        capable = [c for c in self._clients.values() if c.capable]
        trainers = {c.client_id for c in capable if c.train_examples > 0}
        testers = {c.client_id for c in capable if c.test_examples > 0}
        fresh = {c for c, seen in self._seen_secs.items() if seen >= self._fresh_secs}
        if rules.work is Work.EVALUATE:
            first_round = rules.number == 0
            if (first_round and len(trainers & fresh) < config.population_needed) or (
                len(testers & fresh) < config.min_test_population
            ):
                return
            self._step(rounds.Started(now, tuple(sorted(testers))))
        elif len(trainers & fresh) >= config.population_needed:
            cohort = rounds.draw_cohort(config.seed, rules.number, trainers)
            self._step(rounds.Started(now, () if rules.open_to_all else cohort))

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
            granted = [c for c in commands if isinstance(c, rounds.Grant)]
            self._store.append_event(
                state.rules.number,
                state.rules.work,
                rounds.event_to_dict(event),
                assignment=AssignmentRow(
                    granted[0].assignment_id,
                    state.rules.number,
                    state.rules.work,
                    granted[0].client_id,
                    event.time_secs,
                )
                if granted
                else None,
                report=report,
                evaluation=evaluation,
            )
            self._state = state
        if any(isinstance(c, rounds.Commit | rounds.Abandon) for c in commands):
            self._changed.notify_all()
        return commands

    def _open_accumulator(self) -> Accumulator:
        if self._accumulator is None:
            self._accumulator = Accumulator(self.job.size, grid_bits=self.job.config.grid_bits)
        return self._accumulator

    def _fold(self, report: ReportRow, accumulator: Accumulator) -> None:
        path = self._blobs.payload(payload_key(report.client_id, report.report_id))
        accumulator.fold(read_payload(path, report.encoding, self.job.size), report.examples)

    def _assignment(self, grant: rounds.Grant) -> pb.Assignment:
        rules = self._state.rules
        return pb.Assignment(
            assignment_id=grant.assignment_id,
            round=rules.number,
            work=pb.WORK_TRAIN if rules.work is Work.TRAIN else pb.WORK_EVALUATE,
            lease_secs=grant.lease_secs,
            plan=self.job.plan.to_message(),
            manifest=self.job.manifest_blob,
            program=self.job.program_blob,
            weights=self._weights_blob,
        )

    def _retry(self, now: float) -> pb.RetryWindow:
        last = self._durations.get(self._state.rules.work)
        wait = pace.expected_wait_secs(self._state, last, now)
        return pace.window(self.job.config, wait).to_message()

    def _commit(self, state: RoundState) -> RoundState:
        old = digest = ""
        if state.rules.work is Work.TRAIN:
            model = self._next_model(state.rules.number)
            self._files.save(model)
            old = self._weights_blob.digest
            self._install(model)
            digest = self._weights_blob.digest
        state, _ = rounds.step(state, rounds.Committed(self._clock()))
        self._close(state, weights_digest=digest)
        if digest:
            self._files.publish(self._model)
            if digest != old:
                self._blobs.remove(old)
        return state

    def _next_model(self, number: int) -> Model:
        assert self._accumulator is not None, "a training round commits after a fold"
        config = self.job.config
        delta: FlatVector = self._accumulator.mean()
        weights, optimizer = optimizers.apply(
            config.optimizer,
            self._model.optimizer,
            self._model.weights,
            delta,
            number=number,
            rounds=config.rounds,
        )
        return Model(number, weights, optimizer)

    def _close(self, state: RoundState, *, weights_digest: str) -> None:
        with self._changed:
            now = self._clock()
            rules = state.rules
            self._store.close_round(
                rules.number,
                rules.work,
                Closing(
                    phase=state.phase,
                    ending=state.ending or "",
                    started_secs=state.started_secs,
                    ended_secs=now,
                    weights_digest=weights_digest,
                    traffic=self.traffic.drain(),
                ),
            )
            self._state = state
            self._accumulator = None
            stale = self._blobs.round_files()
            if state.phase is Phase.COMMITTED:
                self._durations[rules.work] = now - state.started_secs
            elif rules.work is Work.TRAIN:
                self._fresh_secs = now
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
        # Without the lock: unlinking many megabytes takes its time.
        self._blobs.remove_files(stale)

    def _open_after(self, last: tuple[int, Work] | None) -> None:
        coming = following(self.job.config, last)
        if coming is None:
            return
        rules = rules_for(self.job.config, self.job.name, *coming)
        self._store.open_round(
            StoredRound(
                number=rules.number,
                work=rules.work,
                phase=Phase.SELECTING,
                ending="",
                rules=asdict(rules),
                books=self._books(),
            )
        )
        self._state = RoundState(rules)
        self._start_if_ready(self._clock())

    def _finish_if_last(self, last: tuple[int, Work] | None) -> None:
        # Apart from `_open_after`: the listener has heard of the last round before anybody is
        # told that all are done.
        if following(self.job.config, last) is None:
            with self._changed:
                self._finished = True
                self._changed.notify_all()

    def _books(self) -> dict[str, float]:
        plan = self.job.plan
        return {
            "weights_bytes": self._weights_blob.size_bytes,
            "local_epochs": plan.local_epochs,
            "batch_size": plan.batch_size,
            "alpha": self.job.config.alpha,
        }

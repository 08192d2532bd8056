"""One phone's session with the server: check in, fetch, train or evaluate, report, wait.

    phone = Phone(...)
    while not (outcome := phone.run_once()).finished:
        sleep(outcome.next_contact_secs)

Each call of `run_once` is one session at most and leaves the phone's folder such that a process
killed at any point resumes: a finished report is delivered before anything else, an assignment
whose lease still runs is taken up again at its checkpoint.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import grpc

from fedvoice.algorithm.doors import CLIENT_RULES
from fedvoice.device_runtime.blobs import BlobCache, HeldBlobs
from fedvoice.device_runtime.calls import LeaseOverError, ServerCalls
from fedvoice.device_runtime.checkpoint import Checkpoint
from fedvoice.device_runtime.conditions import Conditions, ConditionSource, Interruption
from fedvoice.device_runtime.engines import EngineCache, LoadedEngine
from fedvoice.device_runtime.examples import FeatureCache
from fedvoice.device_runtime.files import room_on_disk
from fedvoice.device_runtime.identity import Identity
from fedvoice.device_runtime.line import Line, Way
from fedvoice.device_runtime.outbox import AssignmentFile, HeldAssignment, Outbox, PendingReport
from fedvoice.device_runtime.outcomes import REACTIONS, Happened, Outcome, Reaction, SessionSettings
from fedvoice.device_runtime.store import ExampleStore, Split
from fedvoice.device_runtime.work import PhoneWork, give_up, perform
from fedvoice.protocol.codec import ENCODINGS, decode
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.random import Purpose, Stream
from fedvoice.protocol.version import PROTOCOL_VERSION

_log = logging.getLogger(__name__)

_MENDABLE = (ErrorCode.SERVER_UNREACHABLE, ErrorCode.BAD_CREDENTIALS, ErrorCode.NO_SPACE)


class Phone:
    """The runtime of one phone. One thread at a time; phones of a process may share channel,
    engines and blob cache.

    Args:
        client_id: random, made at installation; no account, no telephone number.
        state_dir: this phone's own folder; no other process may use it at the same time.
        channel: to the server; the caller closes it. None: `connected` is called before a session.
        server: its address, for errors.
        clock: Unix time, for leases. sleep: between repeated calls.
    """

    def __init__(
        self,
        client_id: str,
        state_dir: Path,
        *,
        store: ExampleStore,
        channel: grpc.Channel | None,
        server: str,
        engines: EngineCache,
        blobs: BlobCache,
        conditions: ConditionSource,
        settings: SessionSettings | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        self.client_id = client_id
        self._state_dir = state_dir
        self._store = store
        self._channel = channel
        self._server = server
        self._identity: Identity | None = None
        self._engines = engines
        self._blobs = blobs
        self._held = HeldBlobs(state_dir / "held_blobs", blobs)
        self._conditions = conditions
        self._settings = settings or SessionSettings()
        self._clock = clock
        self._sleep = sleep
        self._retry_stream = Stream(0, client_id, 0, Purpose.RETRY)
        self._line = Line(state_dir / "line", clock)
        self._outbox = Outbox(state_dir)
        self._said: list[str] = []
        self._assignment_file = AssignmentFile(state_dir)
        self._checkpoint_path = state_dir / "checkpoint"
        self._features = FeatureCache(self._settings.feature_cache_bytes)
        self._features_of = ""

    def connected(self, channel: grpc.Channel, identity: Identity | None) -> None:
        """Call over this channel from now on, as an enrolled phone or not."""
        self._channel, self._identity = channel, identity

    def run_once(self, should_stop: Callable[[], bool] = lambda: False) -> Outcome:
        """One session at most with the server.

        Args:
            should_stop: polled between steps; True ends the session with a checkpoint.

        Raises:
            FedvoiceError: `server-unreachable`, `server-rejected`, `bad-credentials`, `no-space`,
                and what a bad package or plan gives. What was finished is kept for the next call.
        """
        calls = ServerCalls(
            self._channel,
            self._server,
            self._settings.calls,
            self._retry_stream,
            self._sleep,
            self._identity,
            self._line,
        )
        with room_on_disk(self._state_dir):
            outcome = self._run(calls, should_stop)
        traffic = calls.traffic
        return replace(
            outcome,
            bytes_up=traffic.bytes_up,
            bytes_down=traffic.bytes_down,
            attempts=traffic.attempts,
        )

    def _run(self, calls: ServerCalls, should_stop: Callable[[], bool]) -> Outcome:
        conditions = self._conditions.read()
        missing = self._settings.requirements.missing(conditions)
        if missing:
            return self._wait(Happened.NOT_READY, detail=", ".join(missing))
        pending = self._outbox.pending()
        if pending is not None:
            return self._deliver(calls, pending, self._received_bytes(calls, pending))

        held = self._assignment_file.get()
        if held is not None and self._clock() >= held.lease_end_secs:
            self._drop_assignment()
            held = None
        if held is None:
            reply = calls.check_in(
                pb.CheckInRequest(
                    client_id=self.client_id,
                    capabilities=self._capabilities(),
                    conditions=self._conditions_message(conditions),
                    cached_digests=self._held.digests(),
                )
            )
            if not reply.HasField("assignment"):
                return self._without_work(reply.retry)
            held = HeldAssignment(reply.assignment, self._clock())
            self._assignment_file.put(held)
        try:
            return self._work(calls, held, should_stop)
        except LeaseOverError:
            return self._lease_over(held.assignment)
        except FedvoiceError as error:
            # What another call may mend is kept for it; anything else would fail for ever.
            if error.code not in _MENDABLE:
                self._drop_assignment()
                if error.code is not ErrorCode.SERVER_REJECTED:
                    with suppress(FedvoiceError):
                        calls.report(give_up(self.client_id, held.assignment, 0), 0)
            raise

    def _work(
        self, calls: ServerCalls, held: HeldAssignment, should_stop: Callable[[], bool]
    ) -> Outcome:
        assignment = held.assignment
        self._see_that_rule_is_known(assignment.plan.client_rule)
        loaded, weights = self._install(calls, held)
        interruption = Interruption(
            self._conditions, self._settings.requirements, self._settings.grace_secs
        )

        def stop() -> bool:
            return should_stop() or interruption() or self._clock() >= held.lease_end_secs

        every_secs = self._settings.checkpoint_secs
        report = perform(
            PhoneWork(self.client_id, assignment, loaded, weights, self._said),
            self._store,
            self._features,
            None if every_secs is None else Checkpoint(self._checkpoint_path, every_secs),
            stop,
        )
        if report is not None:
            self._outbox.put(report)
            self._drop_assignment()
            return self._deliver(calls, report)
        if self._clock() >= held.lease_end_secs:
            return self._lease_over(assignment)
        detail = ", ".join(interruption.reasons) or "asked to stop"
        return self._wait(Happened.INTERRUPTED, assignment.round, detail)

    def _install(self, calls: ServerCalls, held: HeldAssignment) -> tuple[LoadedEngine, FlatVector]:
        """The assignment's engine and weights float32 [P], fetched as far as they are missing."""
        assignment = held.assignment
        manifest_bytes = self._fetch(calls, assignment.manifest, held)
        program = self._fetch(calls, assignment.program, held)
        payload = self._fetch(calls, assignment.weights, held)
        digest = assignment.manifest.digest
        loaded = self._engines.get(
            digest, lambda: self._blobs.package(digest, manifest_bytes, program)
        )
        weights = decode(
            payload,
            assignment.weights.encoding,
            loaded.engine.manifest.parameters.total_size,
            f"weights {assignment.weights.digest[:16]}",
        )
        if self._features_of != digest:
            self._features.clear()
            self._features_of = digest
        return loaded, weights

    def _fetch(self, calls: ServerCalls, blob: pb.Blob, held: HeldAssignment) -> bytes:
        """A blob's bytes, checked. A wrong digest is tried a second time, then raised."""
        if blob.digest in self._held.digests():
            data = self._blobs.read(blob.digest)
            if data is not None:
                self._held.use(blob.digest)
                return data
        partial = self._blobs.partial_path(blob.digest, self.client_id)
        assignment_id = held.assignment.assignment_id

        def fetched() -> bytes:
            calls.fetch(
                blob,
                partial,
                self.client_id,
                assignment_id,
                lambda: held.lease_end_secs - self._clock(),
            )
            return self._blobs.adopt(partial, blob)

        try:
            data = fetched()
        except FedvoiceError as error:
            if error.code is not ErrorCode.WRONG_DIGEST:
                raise
            _log.info("%s, once more", error)
            data = fetched()
        self._held.use(blob.digest)
        return data

    def _received_bytes(self, calls: ServerCalls, report: PendingReport) -> int:
        """How much of an earlier session's report the server has."""
        if not report.payload:
            return 0
        header = report.header
        request = pb.ReportStatusRequest(client_id=header.client_id, report_id=header.report_id)
        return min(calls.report_status(request).received_bytes, len(report.payload))

    def _deliver(self, calls: ServerCalls, report: PendingReport, offset: int = 0) -> Outcome:
        """Send a report until the server has answered it."""
        header = report.header
        reply = pb.ReportReply()
        for _ in range(self._settings.report_attempts):
            reply = calls.report(report, offset)
            reaction = REACTIONS.get(reply.verdict, Reaction.DROP)
            if reaction is Reaction.RESUME:
                offset = self._received_bytes(calls, report)
            elif reaction is Reaction.RESEND:
                offset = 0
            else:
                break
        kept = reaction is Reaction.WAIT
        if not kept:
            self._outbox.clear()
        if reply.verdict == pb.VERDICT_ACCEPTED:
            evaluated = header.statistics.utterances > 0
            happened = Happened.EVALUATED if evaluated else Happened.TRAINED
        elif kept:
            happened = Happened.REPORT_KEPT
        elif header.statistics.examples == 0:
            happened = Happened.GAVE_UP
        else:
            happened = Happened.REPORT_DROPPED
        outcome = self._after(reply.retry, happened)
        return replace(
            outcome,
            finished=outcome.finished and not kept,
            round_number=header.round,
            statistics=header.statistics,
            verdict=reply.verdict,
            detail=reply.detail,
        )

    def _conditions_message(self, conditions: Conditions) -> pb.Conditions:
        message = conditions.to_message()
        message.up_bytes_per_sec = self._line.bytes_per_sec(Way.UP)
        message.down_bytes_per_sec = self._line.bytes_per_sec(Way.DOWN)
        return message

    def _capabilities(self) -> pb.Capabilities:
        return pb.Capabilities(
            runtime_version=self._settings.runtime_version,
            protocol_version=PROTOCOL_VERSION,
            train_examples=self._store.count(Split.TRAIN),
            test_examples=self._store.count(Split.TEST),
            operators=self._settings.operators,
            client_rules=self._client_rules(),
            encodings=ENCODINGS,
        )

    def _client_rules(self) -> tuple[str, ...]:
        told = self._settings.client_rules
        return tuple(CLIENT_RULES.names()) if told is None else told

    def _see_that_rule_is_known(self, rule: str) -> None:
        """A name can be `module:name`: only what this phone offered is ever imported."""
        if rule and rule not in self._client_rules():
            raise FedvoiceError(
                ErrorCode.BAD_PLUGIN,
                where="the plan, client_rule",
                got=repr(rule),
                wanted=f"one of {', '.join(self._client_rules()) or 'none'}",
                next_step="Name the rule to the phone, if you trust it, or correct the plan.",
            )

    def _without_work(self, retry: pb.RetryWindow) -> Outcome:
        slow = retry.reason == pb.REASON_LINE_TOO_SLOW
        outcome = self._after(retry, Happened.LINE_TOO_SLOW if slow else Happened.NO_WORK)
        return replace(outcome, detail=retry.detail)

    def _lease_over(self, assignment: pb.Assignment) -> Outcome:
        self._drop_assignment()
        return self._wait(Happened.LEASE_EXPIRED, assignment.round)

    def _after(self, retry: pb.RetryWindow, happened: Happened) -> Outcome:
        """An outcome with the next contact drawn uniformly from the server's window."""
        span_secs = max(0.0, retry.max_secs - retry.min_secs)
        return Outcome(
            happened,
            next_contact_secs=max(0.0, retry.min_secs) + span_secs * self._retry_stream.uniform(),
            finished=retry.finished,
        )

    def _wait(
        self, happened: Happened, round_number: int | None = None, detail: str = ""
    ) -> Outcome:
        return Outcome(
            happened,
            next_contact_secs=self._settings.recheck_secs,
            round_number=round_number,
            detail=detail,
        )

    def _drop_assignment(self) -> None:
        self._assignment_file.clear()
        self._checkpoint_path.unlink(missing_ok=True)

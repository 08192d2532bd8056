"""Receives one report: header, chunks, digest, content, record, fold, answer.

The order makes acknowledged reports durable: a payload is synced and its row committed before
the client gets `ACCEPTED`, and a client that asks again gets the same answer.

`Intake.begin` and `Intake.record` ask the store and the disk: they run in threads. What comes
between, `Reception.take`, does not wait for anything: it runs in the server's loop. So does
`Intake.finish` of an update that lies in memory, once it is written: its arithmetic in a thread
would ask for Python's lock a hundred times.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

import numpy as np

from fedvoice.algorithm.aggregation import Inspection, UpdateFacts, inspect
from fedvoice.algorithm.checks import Refusal, check_facts, check_payload_header, check_statistics
from fedvoice.algorithm.links import Pieces, UpdateInfo
from fedvoice.algorithm.rounds import Work
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.rounds.coordinator import Coordinator
from fedvoice.server.rounds.sums import Accepted
from fedvoice.server.store.blobs import BlobStore, Upload, payload_key
from fedvoice.server.store.database import Store
from fedvoice.server.store.payloads import read_payload
from fedvoice.server.store.tables import AssignmentRow, EvaluationRow, ReportRow

_FLOAT_BYTES = 4
_QUICK_BYTES = 16 * 1024 * 1024
"""Longest update that is folded in the loop: it keeps all others waiting for some milliseconds."""
_LARGEST_INT, _LARGEST_LONG = 2**31 - 1, 2**63 - 1
LATE = Refusal(pb.VERDICT_LATE, "the round has ended or the lease has run out; check in again")
_ACCEPTED = Refusal(pb.VERDICT_ACCEPTED, "")
_NO_FACTS = UpdateFacts(max_abs=0.0, norm=0.0)
_VERDICTS = {
    ErrorCode.NO_SPACE: pb.VERDICT_NO_SPACE,
    ErrorCode.EXISTS: pb.VERDICT_WRONG_OFFSET,
    ErrorCode.WRONG_SHAPE: pb.VERDICT_WRONG_OFFSET,
}


class _Look:
    """Inspects float32 values as their bytes come, in pieces of any length."""

    def __init__(self, bound: float) -> None:
        self._inspection, self._rest = Inspection(bound), b""

    def __call__(self, piece: bytes | memoryview) -> None:
        data = memoryview(self._rest + bytes(piece)) if self._rest else memoryview(piece)
        whole = len(data) - len(data) % _FLOAT_BYTES
        self._inspection.take(np.frombuffer(data[:whole], "<f4"))
        self._rest = bytes(data[whole:])

    @property
    def facts(self) -> UpdateFacts:
        return self._inspection.facts


@dataclass
class Reception:
    """A report on its way in, whose header is good."""

    header: pb.ReportHeader
    assignment: AssignmentRow
    lease_secs: float
    """What is left of it."""
    weight: int
    """What the update counts with."""
    norm_bound: float
    """Of the round; 0: none."""
    upload: Upload | None = None
    """None: an evaluation, which has no payload."""
    look: _Look | None = None
    refusal: Refusal | None = field(default=None)

    @property
    def wanted(self) -> bool:
        """Whether chunks are wanted."""
        return self.upload is not None and self.refusal is None

    @property
    def payload_bytes(self) -> int:
        """As announced."""
        return self.header.payload.size_bytes

    @property
    def held(self) -> bool:
        """Whether it lies in memory."""
        return self.upload is not None and self.upload.held

    @property
    def quickly_folded(self) -> bool:
        """Whether its values lie in memory, and are not many."""
        return self.held and self.look is not None and self.payload_bytes <= _QUICK_BYTES

    def take(self, data: memoryview) -> bool:
        """Keep a chunk; False: nothing more is wanted."""
        if self.upload is None or self.refusal is not None:
            return False
        size = self.header.payload.size_bytes
        if self.upload.received_bytes + len(data) > size:
            text = f"more than the {size} bytes announced"
            self.refusal = Refusal(pb.VERDICT_WRONG_SHAPE, text, final=True)
            return False
        try:
            self.upload.write(data)
        except FedvoiceError as error:
            self.refusal = _refused(error)
            return False
        return True

    def spill(self) -> None:
        """Go on in a file."""
        if self.upload is not None:
            try:
                self.upload.spill()
            except FedvoiceError as error:
                self.refusal = _refused(error)

    def pieces(self, size: int) -> Pieces | None:
        """The update's values, float32 [size] in all; None for an evaluation."""
        if self.upload is None:
            return None
        return partial(read_payload, self.upload.content, self.header.payload.encoding, size)

    def close(self) -> None:
        """What came stays, for the next call."""
        if self.upload is not None:
            self.upload.close()


class Intake:
    """Receives reports for one coordinator."""

    def __init__(self, coordinator: Coordinator, store: Store, blobs: BlobStore) -> None:
        self._coordinator, self._store, self._blobs = coordinator, store, blobs

    def status(self, client_id: str, report_id: str) -> pb.ReportStatusReply:
        """How far a report has come."""
        row = self._store.report(client_id, report_id)
        if row is not None:
            return pb.ReportStatusReply(received_bytes=row.payload_bytes, complete=True)
        received = self._blobs.received_bytes(payload_key(client_id, report_id))
        return pb.ReportStatusReply(received_bytes=received, complete=False)

    def begin(self, header: pb.ReportHeader) -> Reception | Refusal:
        """The reception of a report; or the answer, if it is known already."""
        earlier = self._earlier_answer(header)
        if earlier is not None:
            return earlier
        assignment = self._coordinator.assignment(header.client_id, header.assignment_id)
        if assignment is None or assignment.number != header.round:
            return Refusal(
                pb.VERDICT_UNKNOWN_ASSIGNMENT,
                f"no assignment {header.assignment_id[:64]!r} of this client in round "
                f"{header.round}; check in again",
            )
        lease_secs = self._coordinator.lease_secs(header.client_id, header.assignment_id)
        if lease_secs is None:
            # Its other call may have been answered since: then this one is answered alike.
            return self._earlier_answer(header) or LATE
        job, work = self._coordinator.job, Work(assignment.work)
        refusal = check_statistics(
            header.statistics, work, job.plan_for(header.round), job.config
        ) or check_payload_header(header.payload, work, job.size)
        weight, norm_bound = self._coordinator.weighed(
            header.client_id, assignment, header.statistics.examples
        )
        reception = Reception(header, assignment, lease_secs, weight, norm_bound, refusal=refusal)
        if refusal is None and work is Work.TRAIN:
            if header.payload.encoding == "float32":
                reception.look = _Look(job.config.max_update_abs)
            try:
                reception.upload = self._blobs.open_upload(
                    payload_key(header.client_id, header.report_id),
                    header.offset,
                    header.payload.size_bytes,
                    reception.look,
                )
            except FedvoiceError as error:
                return _refused(error)
        return reception

    def record(self, reception: Reception) -> Accepted | Refusal:
        """Check, store and record a report of which nothing more will come: what is to be folded
        when it is written, or the answer."""
        header, refusal, facts = reception.header, reception.refusal, _NO_FACTS
        upload, pieces = reception.upload, None
        if upload is not None:
            if refusal is None:
                refusal, facts = self._examine(reception, upload)
            elif refusal.final:
                upload.discard()
            if refusal is None:
                # Outside of what turns errors into refusals: a link's errors blame no client.
                self._try_links(reception)
                try:
                    upload.finish()
                except FedvoiceError as error:
                    refusal = _refused(error)
                if upload.held:
                    pieces = reception.pieces(self._coordinator.job.size)
        row = _report_row(reception, refusal, facts)
        if refusal is not None:
            if refusal.final:
                self._coordinator.reject(row)
            return refusal
        evaluation = _evaluation_row(header, Work(reception.assignment.work))
        accepted = self._coordinator.accept(row, evaluation, pieces)
        return accepted or self._earlier_answer(header) or LATE

    def finish(self, accepted: Accepted) -> Refusal:
        """The answer to a recorded report, which is folded; waits until it is written."""
        self._coordinator.fold(accepted)
        return _ACCEPTED

    def reply(self, outcome: Refusal) -> pb.ReportReply:
        """An answer as a message."""
        return pb.ReportReply(
            verdict=outcome.verdict, detail=outcome.detail, retry=self._coordinator.retry()
        )

    def _earlier_answer(self, header: pb.ReportHeader) -> Refusal | None:
        row = self._store.report(header.client_id, header.report_id)
        return None if row is None else Refusal(cast(pb.Verdict, row.verdict), row.detail)

    def _examine(self, reception: Reception, upload: Upload) -> tuple[Refusal | None, UpdateFacts]:
        payload, job = reception.header.payload, self._coordinator.job
        if upload.received_bytes < payload.size_bytes:
            text = f"{upload.received_bytes} of {payload.size_bytes} bytes held: resume there"
            return Refusal(pb.VERDICT_WRONG_OFFSET, text), _NO_FACTS
        facts = _NO_FACTS
        if upload.digest != payload.digest:
            text = f"sha256 {upload.digest[:16]}...: {payload.digest[:16]}... announced; send again"
            refusal: Refusal | None = Refusal(pb.VERDICT_WRONG_DIGEST, text)
        else:
            try:
                if reception.look is not None:
                    facts = reception.look.facts
                else:
                    pieces = read_payload(upload.content, payload.encoding, job.size)
                    facts = inspect(pieces, job.config.max_update_abs)
                plan = job.plan_for(reception.header.round)
                refusal = check_facts(facts, plan, job.config, reception.norm_bound)
            except FedvoiceError as error:
                text = f"{error.got}: {error.wanted} wanted"
                refusal = Refusal(pb.VERDICT_WRONG_SHAPE, text, final=True)
        if refusal is not None:
            upload.discard()
        return refusal, facts

    def _try_links(self, reception: Reception) -> None:
        """A link that fails stops the server before the report is accepted: no client is at fault,
        and every other report would fail alike."""
        header, job = reception.header, self._coordinator.job
        s, plan = header.statistics, job.plan_for(header.round)
        told = UpdateInfo(header.client_id, header.round, reception.weight, s.steps, s.loss, plan)
        pieces = reception.pieces(job.size)
        assert pieces is not None, "links see updates alone"
        try:
            job.algorithm.chain.check(pieces, told)
        except FedvoiceError as error:
            self._coordinator.fail(error)
            raise


def _refused(error: FedvoiceError) -> Refusal:
    """What a client is told of an error in keeping its upload; others are raised again."""
    if error.code not in _VERDICTS:
        raise error
    return Refusal(_VERDICTS[error.code], f"{error.got}; {error.next_step}")


def _report_row(reception: Reception, refusal: Refusal | None, facts: UpdateFacts) -> ReportRow:
    """Numbers that the store's columns do not hold, which are refused, are kept as the largest one
    that they do."""
    header, assignment = reception.header, reception.assignment
    s = header.statistics
    return ReportRow(
        client_id=header.client_id,
        report_id=header.report_id,
        assignment_id=header.assignment_id,
        number=assignment.number,
        work=assignment.work,
        verdict=int(refusal.verdict if refusal else pb.VERDICT_ACCEPTED),
        detail=refusal.detail if refusal else "",
        received_secs=time.time(),
        payload_digest=header.payload.digest[:64],
        payload_bytes=min(header.payload.size_bytes, _LARGEST_LONG),
        encoding=header.payload.encoding[:32],
        examples=min(reception.weight, _LARGEST_INT),
        steps=s.steps,
        loss=_finite(s.loss),
        train_secs=_finite(s.train_secs),
        peak_memory_bytes=min(s.peak_memory_bytes, _LARGEST_LONG),
        planned_memory_bytes=min(s.planned_memory_bytes, _LARGEST_LONG),
        skipped_examples=min(s.skipped_examples, _LARGEST_INT),
        update_norm=_finite(facts.norm),
    )


def _evaluation_row(header: pb.ReportHeader, work: Work) -> EvaluationRow | None:
    if work is not Work.EVALUATE:
        return None
    s = header.statistics
    row = EvaluationRow(header.round, header.client_id, s.word_errors, s.words, s.utterances)
    return replace(row, char_errors=s.char_errors, chars=s.chars) if s.HasField("chars") else row


def _finite(value: float) -> float:
    # SQLite keeps no NaN: it becomes NULL. Only rejected reports can bring one here.
    return value if math.isfinite(value) else -1.0

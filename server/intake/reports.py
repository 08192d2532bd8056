"""Receives one report: header, chunks, digest, content, record, fold, answer.

The order makes acknowledged reports durable: a payload is synced and its row committed before
the client gets `ACCEPTED`, and a client that asks again gets the same answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import cast

from fedvoice.algorithm.aggregation import UpdateFacts, inspect
from fedvoice.algorithm.checks import Refusal, check_facts, check_payload_header, check_statistics
from fedvoice.algorithm.links import UpdateInfo
from fedvoice.algorithm.rounds import Work
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.rounds.coordinator import Coordinator
from fedvoice.server.store.blobs import BlobStore, Upload, payload_key
from fedvoice.server.store.database import Store
from fedvoice.server.store.payloads import read_payload
from fedvoice.server.store.tables import AssignmentRow, EvaluationRow, ReportRow

_LATE = Refusal(pb.VERDICT_LATE, "the round has ended or the lease has run out; check in again")
_NO_FACTS = UpdateFacts(max_abs=0.0, norm=0.0)
_VERDICTS = {
    ErrorCode.NO_SPACE: pb.VERDICT_NO_SPACE,
    ErrorCode.EXISTS: pb.VERDICT_WRONG_OFFSET,
    ErrorCode.WRONG_SHAPE: pb.VERDICT_WRONG_OFFSET,
}


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

    def receive(self, header: pb.ReportHeader, chunks: Iterable[bytes]) -> pb.ReportReply:
        """The reply to one Report call. Errors while reading `chunks` pass through; what came
        before them is kept for the next call."""
        earlier = self._earlier_answer(header)
        if earlier is not None:
            return self._reply(earlier)
        assignment = self._coordinator.assignment(header.assignment_id)
        if (
            assignment is None
            or assignment.client_id != header.client_id
            or assignment.number != header.round
        ):
            return self._reply(
                Refusal(
                    pb.VERDICT_UNKNOWN_ASSIGNMENT,
                    f"no assignment {header.assignment_id[:64]!r} of this client in round "
                    f"{header.round}; check in again",
                )
            )
        key = payload_key(header.client_id, header.report_id)
        if not self._coordinator.holds(header.client_id, header.assignment_id):
            # Its other call may have been answered since: then this one is answered alike.
            return self._reply(self._earlier_answer(header) or _LATE)
        job, work = self._coordinator.job, Work(assignment.work)
        refusal = check_statistics(
            header.statistics, work, job.plan, job.config
        ) or check_payload_header(header.payload, work, job.size)
        facts = _NO_FACTS
        if refusal is None and work is Work.TRAIN:
            refusal, facts = self._receive_payload(header, key, chunks)
        row = _report_row(header, assignment, refusal, facts)
        if refusal is not None:
            if refusal.final:
                self._coordinator.reject(row)
            return self._reply(refusal)
        if not self._coordinator.accept(row, _evaluation_row(header, work)):
            return self._reply(self._earlier_answer(header) or _LATE)
        return self._reply(Refusal(pb.VERDICT_ACCEPTED, ""))

    def _earlier_answer(self, header: pb.ReportHeader) -> Refusal | None:
        row = self._store.report(header.client_id, header.report_id)
        return None if row is None else Refusal(cast(pb.Verdict, row.verdict), row.detail)

    def _receive_payload(
        self, header: pb.ReportHeader, key: str, chunks: Iterable[bytes]
    ) -> tuple[Refusal | None, UpdateFacts]:
        size = header.payload.size_bytes
        try:
            upload = self._blobs.open_upload(key, header.offset, size)
        except FedvoiceError as error:
            return _refused(error), _NO_FACTS
        with upload:
            refusal, facts = self._write(upload, chunks, size), _NO_FACTS
            if refusal is None:
                refusal, facts = self._examine(header, upload)
            if refusal is None:
                # Outside of what turns errors into refusals: a link's errors blame no client.
                self._try_links(header, upload)
                upload.finish()
        return refusal, facts

    def _write(self, upload: Upload, chunks: Iterable[bytes], size: int) -> Refusal | None:
        try:
            for data in chunks:
                if upload.received_bytes + len(data) > size:
                    self._blobs.discard_upload(upload.key)
                    text = f"more than the {size} bytes announced"
                    return Refusal(pb.VERDICT_WRONG_SHAPE, text, final=True)
                upload.write(data)
        except FedvoiceError as error:
            return _refused(error)
        if upload.received_bytes < size:
            text = f"{upload.received_bytes} of {size} bytes held: resume there"
            return Refusal(pb.VERDICT_WRONG_OFFSET, text)
        return None

    def _examine(
        self, header: pb.ReportHeader, upload: Upload
    ) -> tuple[Refusal | None, UpdateFacts]:
        payload, job = header.payload, self._coordinator.job
        facts = _NO_FACTS
        if upload.digest != payload.digest:
            text = f"sha256 {upload.digest[:16]}...: {payload.digest[:16]}... announced; send again"
            refusal: Refusal | None = Refusal(pb.VERDICT_WRONG_DIGEST, text)
        else:
            try:
                facts = inspect(read_payload(upload.path, payload.encoding, job.size))
                refusal = check_facts(facts, job.plan, job.config)
            except FedvoiceError as error:
                text = f"{error.got}: {error.wanted} wanted"
                refusal = Refusal(pb.VERDICT_WRONG_SHAPE, text, final=True)
        if refusal is not None:
            self._blobs.discard_upload(upload.key)
        return refusal, facts

    def _try_links(self, header: pb.ReportHeader, upload: Upload) -> None:
        """A link that fails stops the server before the report is accepted: no client is at fault,
        and every other report would fail alike."""
        s, job = header.statistics, self._coordinator.job
        plan = job.plan_for(header.round)
        told = UpdateInfo(header.client_id, header.round, s.examples, s.steps, s.loss, plan)
        pieces = partial(read_payload, upload.path, header.payload.encoding, job.size)
        try:
            job.algorithm.chain.check(pieces, told)
        except FedvoiceError as error:
            self._coordinator.fail(error)
            raise

    def _reply(self, outcome: Refusal) -> pb.ReportReply:
        return pb.ReportReply(
            verdict=outcome.verdict, detail=outcome.detail, retry=self._coordinator.retry()
        )


def _refused(error: FedvoiceError) -> Refusal:
    """What a client is told of an error in keeping its upload; others are raised again."""
    if error.code not in _VERDICTS:
        raise error
    return Refusal(_VERDICTS[error.code], f"{error.got}; {error.next_step}")


def _report_row(
    header: pb.ReportHeader,
    assignment: AssignmentRow,
    refusal: Refusal | None,
    facts: UpdateFacts,
) -> ReportRow:
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
        payload_bytes=header.payload.size_bytes,
        encoding=header.payload.encoding[:32],
        examples=s.examples,
        steps=s.steps,
        loss=_finite(s.loss),
        train_secs=_finite(s.train_secs),
        peak_memory_bytes=s.peak_memory_bytes,
        planned_memory_bytes=s.planned_memory_bytes,
        skipped_examples=s.skipped_examples,
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

"""The running sum of the open round: accepted payloads, through the links, into the exact sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from fedvoice.algorithm.aggregation import Accumulator
from fedvoice.algorithm.links import Pieces, Spooled, UpdateInfo
from fedvoice.protocol.parameters import FlatVector
from fedvoice.server.rounds.job import Job
from fedvoice.server.store.blobs import BlobStore, payload_key
from fedvoice.server.store.payloads import read_payload
from fedvoice.server.store.tables import ReportRow


@dataclass(frozen=True)
class Accepted:
    """A report that is being recorded. written: done when it is. pieces: the update's values, if
    they lie in memory. total: the sum that it belongs to, if it is an update."""

    report: ReportRow
    total: Accumulator | None
    pieces: Pieces | None
    written: Future[None]


class RoundSum:
    """`open` and `take_delta` are called under the coordinator's lock or by its ticker alone;
    `fold` may run in many threads."""

    def __init__(self, job: Job, blobs: BlobStore) -> None:
        self._job, self._blobs = job, blobs
        self._total: Accumulator | None = None

    def open(self) -> Accumulator:
        """The round's sum, made at the first accepted update."""
        if self._total is None:
            self._total = self._job.algorithm.accumulator()
        return self._total

    def drop(self) -> None:
        """Drop the sum: the round has ended."""
        self._total = None

    def fold(self, report: ReportRow, total: Accumulator, pieces: Pieces | None = None) -> None:
        """Add an accepted report's payload: the stored one, or the same values in memory.

        Raises:
            FedvoiceError: as links and damaged payloads raise.
        """
        self._job.algorithm.chain.fold(total, pieces or self._pieces(report), self._told(report))

    def take_delta(self, accepted: Callable[[], Sequence[ReportRow]]) -> FlatVector:
        """The round's delta float32 [P]; the sum is dropped: a restart would fold again.

        Args:
            accepted: reads the round's accepted reports, which only cohort rules want.
        """
        assert self._total is not None, "a training round commits after a fold"
        algorithm, total = self._job.algorithm, self._total
        self._total = None  # the largest thing in memory
        spooled = (
            [Spooled(self._told(report), self._pieces(report)) for report in accepted()]
            if algorithm.chain.needs_updates
            else []
        )
        return algorithm.delta(total, spooled)

    def _pieces(self, report: ReportRow) -> Pieces:
        path = self._blobs.payload(payload_key(report.client_id, report.report_id))
        return partial(read_payload, path, report.encoding, self._job.size)

    def _told(self, report: ReportRow) -> UpdateInfo:
        plan = self._job.plan_for(report.number)
        return UpdateInfo(
            report.client_id, report.number, report.examples, report.steps, report.loss, plan
        )

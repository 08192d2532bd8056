"""Books the bytes of every call under its round and kind (law 7)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from google.protobuf.message import Message

from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.rounds.coordinator import Coordinator
from fedvoice.server.store.tables import TrafficKind
from fedvoice.server.store.traffic import (
    FRAME_HEADER_BYTES,
    chunk_wire_bytes,
    report_chunk_wire_bytes,
    wire_bytes,
)


class CallBytes:
    """Counts one call's bytes."""

    def __init__(self, coordinator: Coordinator, client_id: str, number: int, kind: TrafficKind):
        self._traffic = coordinator.traffic
        # Names that nobody registered share a row: without certificates anyone can make them up.
        self._client_id = client_id if coordinator.knows(client_id) else ""
        self.number, self.kind = number, kind

    def add(self, *, down: int = 0, up: int = 0) -> None:
        """Bytes that the client received (down) or sent (up)."""
        self._traffic.add(self.number, self.kind, self._client_id, down=down, up=up)


class UploadBytes(CallBytes):
    """Counts a report's bytes; they are stored in the transaction that records the report."""

    def chunk(self, data_bytes: int) -> None:
        """A received chunk."""
        self.add(up=report_chunk_wire_bytes(data_bytes))


class DownloadBytes:
    """Counts chunks as they are sent."""

    def __init__(self) -> None:
        self.sent = 0

    def chunk(self, data_bytes: int) -> None:
        """A chunk that is about to be sent."""
        self.sent += chunk_wire_bytes(data_bytes)


class Meter:
    """The byte counts of one server."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        job = coordinator.job
        self._installed = {job.manifest_blob.digest, job.program_blob.digest}
        # Weights fetched for an evaluation: client -> (digest, round, bytes).
        self._evaluated_weights: dict[str, tuple[str, int, int]] = {}

    def call(self, client_id: str, assignment_id: str = "") -> CallBytes:
        """Counts a call about an assignment, or about the client's present one."""
        number, kind = self._coordinator.traffic_kind(client_id, assignment_id)
        return CallBytes(self._coordinator, client_id, number, kind)

    def exchange(self, client_id: str, request: Message, reply: Message) -> None:
        """A call of one message each way."""
        self.call(client_id).add(down=wire_bytes(reply), up=wire_bytes(request))

    def check_in(self, request: pb.CheckInRequest, reply: pb.CheckInReply) -> None:
        """A check-in; without work it is idle."""
        call = self.call(request.client_id, reply.assignment.assignment_id)
        if reply.HasField("assignment"):
            self._share_download(request, reply.assignment)
        else:
            call.kind = TrafficKind.IDLE
        call.add(down=wire_bytes(reply), up=wire_bytes(request))

    def fetch(self, request: pb.FetchRequest) -> CallBytes:
        """What a fetch is booked under."""
        call = self.call(request.client_id, request.assignment_id)
        if request.digest in self._installed:
            call.kind = TrafficKind.INSTALL
        return call

    @contextmanager
    def download(self, request: pb.FetchRequest, call: CallBytes) -> Iterator[DownloadBytes]:
        """A fetch; the bytes sent are booked even if the block fails."""
        counted = DownloadBytes()
        try:
            yield counted
        finally:
            if call.kind is TrafficKind.EVALUATE:
                digest, _, before = self._evaluated_weights.get(request.client_id, ("", 0, 0))
                total = counted.sent + (before if digest == request.digest else 0)
                self._evaluated_weights[request.client_id] = (request.digest, call.number, total)
            call.add(down=counted.sent, up=wire_bytes(request))

    def upload(self, header: pb.ReportHeader, first: bytes) -> UploadBytes:
        """A report, of which the header has come; first: its message."""
        number, kind = self._coordinator.traffic_kind(header.client_id, header.assignment_id)
        counted = UploadBytes(self._coordinator, header.client_id, number, kind)
        counted.add(up=FRAME_HEADER_BYTES + len(first))
        return counted

    def _share_download(self, request: pb.CheckInRequest, assignment: pb.Assignment) -> None:
        """Weights that were fetched for an evaluation and now serve training are booked as
        training: it would have had to fetch them, and evaluating often must not make CFMQ small.
        """
        digest, number, sent = self._evaluated_weights.get(request.client_id, ("", 0, 0))
        if (
            assignment.work == pb.WORK_TRAIN
            and digest == assignment.weights.digest
            and digest in request.cached_digests
        ):
            del self._evaluated_weights[request.client_id]
            add = self._coordinator.traffic.add
            add(number, TrafficKind.EVALUATE, request.client_id, down=-sent)
            add(assignment.round, TrafficKind.TRAIN, request.client_id, down=sent)

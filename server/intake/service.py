"""The gRPC service: translates messages; decisions and byte counts are made elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import grpc

from fedvoice.protocol.codec import CHUNK_BYTES
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc
from fedvoice.protocol.version import PROTOCOL_VERSION
from fedvoice.server.intake.meter import Meter
from fedvoice.server.intake.patience import StalledError, patient
from fedvoice.server.intake.reports import Intake
from fedvoice.server.rounds.coordinator import Coordinator
from fedvoice.server.security.enrolment import Admission
from fedvoice.server.store.blobs import BlobStore
from fedvoice.server.store.traffic import wire_bytes

log = logging.getLogger("fedvoice.server")

_LONGEST_ID = 128
_LARGEST_COUNT = 2**31 - 1


class AggregationService(fedvoice_pb2_grpc.AggregationServicer):
    """`fedvoice.v1.Aggregation`; the .proto states the legal order of calls."""

    def __init__(
        self,
        coordinator: Coordinator,
        intake: Intake,
        blobs: BlobStore,
        admission: Admission | None,
    ) -> None:
        """`admission`: None where there is no TLS."""
        self._chunk_timeout_secs = coordinator.job.config.chunk_timeout_secs
        self._coordinator, self._intake, self._blobs = coordinator, intake, blobs
        self._admission = admission
        self._meter = Meter(coordinator)

    def CheckIn(  # noqa: N802
        self, request: pb.CheckInRequest, context: grpc.ServicerContext
    ) -> pb.CheckInReply:
        """Never blocks."""
        self._admit(context, client_id=request.client_id)
        capabilities = request.capabilities
        if capabilities.protocol_version > PROTOCOL_VERSION:
            context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"protocol version {capabilities.protocol_version}: this server speaks "
                f"{PROTOCOL_VERSION}; update the server",
            )
        if max(capabilities.train_examples, capabilities.test_examples) > _LARGEST_COUNT:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "example counts are out of range")
        reply = self._coordinator.check_in(request)
        self._meter.check_in(request, reply)
        return reply

    def Fetch(  # noqa: N802
        self, request: pb.FetchRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Chunk]:
        """Chunks of 256 KB from the offset on."""
        self._admit(context, client_id=request.client_id)
        path = self._blobs.path(request.digest)
        if path is None:
            context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"no blob {request.digest[:64]!r}: weights of past rounds are dropped; check in "
                "again",
            )
            return
        with self._meter.download(request) as counted, path.open("rb", buffering=0) as file:
            size = file.seek(0, 2)
            if request.offset > size:
                context.abort(
                    grpc.StatusCode.OUT_OF_RANGE,
                    f"offset {request.offset}: the blob has {size} bytes",
                )
            file.seek(request.offset)
            while data := file.read(CHUNK_BYTES):
                counted.chunk(len(data))
                yield pb.Chunk(data=data)

    def ReportStatus(  # noqa: N802
        self, request: pb.ReportStatusRequest, context: grpc.ServicerContext
    ) -> pb.ReportStatusReply:
        """Where to resume."""
        self._admit(context, client_id=request.client_id, report_id=request.report_id)
        reply = self._intake.status(request.client_id, request.report_id)
        self._meter.exchange(request.client_id, request, reply)
        return reply

    def Report(  # noqa: N802
        self, request_iterator: Iterator[pb.ReportRequest], context: grpc.ServicerContext
    ) -> pb.ReportReply:
        """One report, or the rest of one."""
        messages = patient(request_iterator, self._chunk_timeout_secs)
        try:
            reply, header = self._receive(messages, context)
        except StalledError as error:
            log.info("stalled upload from %s: %s", context.peer(), error)
            context.abort(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"{error}: what was received is kept, ask ReportStatus and resume",
            )
            raise AssertionError("abort raises") from error
        finally:
            messages.close()
        if reply.verdict != pb.VERDICT_ACCEPTED:
            # A full store keeps the round from its goal: the operator must know.
            full = reply.verdict == pb.VERDICT_NO_SPACE
            log.log(
                logging.WARNING if full else logging.INFO,
                "refused client=%s round=%d verdict=%s: %s",
                header.client_id,
                header.round,
                pb.Verdict.Name(reply.verdict),
                reply.detail,
            )
        return reply

    def _receive(
        self, messages: Iterator[pb.ReportRequest], context: grpc.ServicerContext
    ) -> tuple[pb.ReportReply, pb.ReportHeader]:
        first = next(messages, None)
        if first is None or not first.HasField("header"):
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "the first message of a report is its header"
            )
            raise AssertionError("abort raises")
        header = first.header
        self._admit(context, client_id=header.client_id, report_id=header.report_id)
        counted = self._meter.upload(first)

        def chunks() -> Iterator[bytes]:
            for message in messages:
                if not message.HasField("chunk"):
                    context.abort(
                        grpc.StatusCode.INVALID_ARGUMENT, "after the header come chunks only"
                    )
                data = message.chunk.data
                counted.chunk(len(data))
                yield data

        reply = self._intake.receive(header, chunks())
        counted.add(down=wire_bytes(reply))
        return reply, header

    def _admit(self, context: grpc.ServicerContext, *, client_id: str, **ids: str) -> None:
        """Check a call's identifiers, and its caller's certificate against its client_id."""
        for name, value in {"client_id": client_id, **ids}.items():
            if not 0 < len(value) <= _LONGEST_ID or not value.isprintable():
                context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"{name}: 1 to {_LONGEST_ID} printable characters wanted",
                )
        if self._admission is not None:
            self._admission.check(context, client_id)

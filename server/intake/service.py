"""The gRPC service: reads and writes messages; decisions and byte counts are made elsewhere.

Calls are coroutines in one loop, so that thousands of slow phones cost a small window each and no
thread. What asks the store or the disk runs in threads: short calls in `asking`, the ends of
uploads in `finishing`, so that neither waits for the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TypeVar

import grpc

from fedvoice.algorithm.checks import Refusal
from fedvoice.algorithm.rounds import RoundRules
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.version import PROTOCOL_VERSION
from fedvoice.server.calls import (
    Context,
    RefusedError,
    answering,
    check_ids,
    in_thread,
    one_message,
    shown_certificate,
)
from fedvoice.server.intake.downloads import Downloads, Outgoing
from fedvoice.server.intake.meter import CallBytes, Meter, UploadBytes
from fedvoice.server.intake.reports import LATE, Intake, Reception
from fedvoice.server.intake.streams import OverError, Stream, Streams
from fedvoice.server.intake.transfers import Transfers
from fedvoice.server.limits import parsed
from fedvoice.server.rounds.coordinator import WRITE_SECS, Coordinator
from fedvoice.server.security.admission import Admission
from fedvoice.server.store.blobs import BlobStore
from fedvoice.server.store.tables import TrafficKind
from fedvoice.server.store.traffic import wire_bytes

log = logging.getLogger("fedvoice.server")

_LARGEST_COUNT = 2**31 - 1
_LOOK_SECS = 0.02

T = TypeVar("T")


class AggregationService:
    """`fedvoice.v1.Aggregation`; the .proto states the legal order of calls."""

    def __init__(
        self,
        coordinator: Coordinator,
        intake: Intake,
        blobs: BlobStore,
        admission: Admission | None,
    ) -> None:
        """`admission`: None where there is no TLS."""
        config = coordinator.job.config
        self._coordinator, self._intake, self._blobs = coordinator, intake, blobs
        self._admission = admission
        self._meter = Meter(coordinator)
        self._streams = Streams(config.streams)
        self._downloads = Downloads(coordinator.job.manifest.parameters.weights_bytes)
        self._asking = ThreadPoolExecutor(config.handler_threads, thread_name_prefix="ask")
        self._finishing = ThreadPoolExecutor(config.finishing_threads, thread_name_prefix="finish")
        self._transfers = Transfers(config.streams, self._finishing, 4 * coordinator.job.size)
        loop = asyncio.get_running_loop()

        def round_over(rules: RoundRules) -> None:
            loop.call_soon_threadsafe(self._streams.round_over, rules.number, rules.work.value)

        coordinator.on_round_over = round_over

    def handlers(self) -> grpc.GenericRpcHandler:
        """All calls, with messages as bytes: those that are none must not be gRPC's affair."""
        secs = self._streams.settings.header_secs
        status = one_message(self.report_status, secs)
        calls = {
            "CheckIn": grpc.stream_unary_rpc_method_handler(one_message(self.check_in, secs)),
            "Fetch": grpc.stream_stream_rpc_method_handler(one_message(self.fetch, secs)),
            "ReportStatus": grpc.stream_unary_rpc_method_handler(status),
            "Report": grpc.stream_unary_rpc_method_handler(self.report),
        }
        return grpc.method_handlers_generic_handler("fedvoice.v1.Aggregation", calls)

    async def close(self, limit_secs: float) -> None:
        """Keep what came of transfers that were cut; take no more work. What else runs in threads
        comes to its end by itself."""
        loop = asyncio.get_running_loop()
        end_secs = loop.time() + limit_secs
        while (self._streams.count or self._transfers.closing) and loop.time() < end_secs:
            await asyncio.sleep(_LOOK_SECS)
        self._asking.shutdown(wait=False, cancel_futures=True)
        self._finishing.shutdown(wait=False, cancel_futures=True)

    @answering
    async def check_in(self, data: bytes, context: Context) -> bytes:
        """Never waits for another client."""
        request = parsed(pb.CheckInRequest, data)
        check_ids(client_id=request.client_id)
        capabilities = request.capabilities
        if capabilities.protocol_version > PROTOCOL_VERSION:
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"protocol version {capabilities.protocol_version}: this server speaks "
                f"{PROTOCOL_VERSION}; update the server",
            )
        if max(capabilities.train_examples, capabilities.test_examples) > _LARGEST_COUNT:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "example counts are out of range")

        def answer() -> bytes:
            if not self._coordinator.takes(request.client_id):
                raise RefusedError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    "this server knows as many clients as it is set to (keep.most_clients)",
                )
            reply = self._coordinator.check_in(request)
            self._meter.check_in(request, reply)
            return reply.SerializeToString()

        return await self._ask(context, request.client_id, answer)

    @answering
    async def fetch(self, data: bytes, context: Context) -> None:
        """Chunks from the offset on, larger ones for who takes them quickly and wants them."""
        request = parsed(pb.FetchRequest, data)
        check_ids(client_id=request.client_id)

        def begin() -> tuple[CallBytes, float | None, Outgoing | None]:
            lease_secs = self._coordinator.lease_secs(request.client_id, request.assignment_id)
            booked = self._meter.fetch(request)
            path = self._blobs.path(request.digest)
            if path is None:
                return booked, lease_secs, None
            weights = booked.kind is not TrafficKind.INSTALL
            return booked, lease_secs, self._downloads.open(request.digest, path, keep=weights)

        booked, lease_secs, blob = await self._ask(context, request.client_id, begin)
        if blob is None:
            raise RefusedError(
                grpc.StatusCode.NOT_FOUND,
                f"no blob {request.digest[:64]!r}: weights of past rounds are dropped; check in "
                "again",
            )
        with closing(blob), self._meter.download(request, booked) as counted:
            if request.offset > blob.size_bytes:
                raise RefusedError(
                    grpc.StatusCode.OUT_OF_RANGE,
                    f"offset {request.offset}: the blob has {blob.size_bytes} bytes",
                )
            async with self._streams.entered(request.client_id) as stream:
                try:
                    await self._transfers.send(
                        blob,
                        request.offset,
                        counted,
                        context,
                        stream,
                        lease_secs,
                        most_bytes=request.chunk_bytes,
                    )
                except OverError:
                    raise RefusedError(
                        grpc.StatusCode.DEADLINE_EXCEEDED, "the lease has ended; check in again"
                    ) from None

    @answering
    async def report_status(self, data: bytes, context: Context) -> bytes:
        """Where to resume."""
        request = parsed(pb.ReportStatusRequest, data)
        check_ids(client_id=request.client_id, report_id=request.report_id)

        def answer() -> bytes:
            reply = self._intake.status(request.client_id, request.report_id)
            self._meter.exchange(request.client_id, request, reply)
            return reply.SerializeToString()

        return await self._ask(context, request.client_id, answer)

    @answering
    async def report(self, _: object, context: Context) -> bytes:
        """One report, or the rest of one."""
        header, first = await self._header(context)
        client_id = header.client_id
        counted = await self._ask(context, client_id, lambda: self._meter.upload(header, first))
        try:
            async with self._streams.entered(client_id) as stream:
                begun = await self._begun(header)
                if isinstance(begun, Refusal):
                    reply = await self._replied(begun)
                else:
                    reply = await self._outcome(begun, stream, counted, context)
        except OverError:
            reply = await self._replied(LATE)
        counted.add(down=wire_bytes(reply))
        if reply.verdict != pb.VERDICT_ACCEPTED:
            # A full store keeps the round from its goal: the operator must know.
            full = reply.verdict == pb.VERDICT_NO_SPACE
            log.log(
                logging.WARNING if full else logging.INFO,
                "refused client=%s round=%d verdict=%s: %s",
                client_id,
                header.round,
                pb.Verdict.Name(reply.verdict),
                reply.detail,
            )
        return reply.SerializeToString()

    async def _replied(self, outcome: Refusal) -> pb.ReportReply:
        return await in_thread(self._asking, lambda: self._intake.reply(outcome))

    async def _header(self, context: Context) -> tuple[pb.ReportHeader, bytes]:
        """A report's header, and the message that it came in."""
        limit_secs = self._streams.settings.header_secs
        if self._admission is not None:  # nothing is awaited of a caller that is not admitted
            shown = shown_certificate(context)
            await in_thread(self._asking, partial(self._admission.check, shown))
        try:
            async with asyncio.timeout(limit_secs):
                first = await context.read()
        except TimeoutError:
            raise RefusedError(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"no header within {limit_secs:g} s"
            ) from None
        message = pb.ReportRequest() if first is grpc.aio.EOF else parsed(pb.ReportRequest, first)
        if not message.HasField("header"):
            raise RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT, "the first message of a report is its header"
            )
        header = message.header
        check_ids(client_id=header.client_id, report_id=header.report_id)
        return header, first

    async def _begun(self, header: pb.ReportHeader) -> Reception | Refusal:
        loop = asyncio.get_running_loop()
        beginning = loop.run_in_executor(self._asking, self._intake.begin, header)
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            beginning.add_done_callback(_close)
            raise

    async def _outcome(
        self, reception: Reception, stream: Stream, counted: UploadBytes, context: Context
    ) -> pb.ReportReply:
        try:
            if reception.wanted:
                stream.round = (reception.assignment.number, reception.assignment.work)
                await self._transfers.receive(reception, counted, context, stream)
                stream.round = None  # from now on the round decides
        except BaseException:
            await self._transfers.ended(reception)
            raise

        reply = await self._transfers.ended(reception, self._finished(reception))
        assert reply is not None, "nothing was raised"
        return reply

    async def _finished(self, reception: Reception) -> pb.ReportReply:
        """The answer to a report of which nothing more will come. Made as soon as it is accepted:
        what the phone is told is how things are then."""
        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self._finishing, self._intake.record, reception)
        if isinstance(outcome, Refusal):
            return self._intake.reply(outcome)
        if reception.quickly_folded:
            written = asyncio.wrap_future(outcome.written)
            await asyncio.wait([written], timeout=WRITE_SECS)
        if reception.quickly_folded and outcome.written.done():
            return self._intake.reply(self._intake.finish(outcome))
        finished = await loop.run_in_executor(self._finishing, self._intake.finish, outcome)
        return self._intake.reply(finished)

    async def _ask(self, context: Context, client_id: str, answer: Callable[[], T]) -> T:
        """`answer()` in a thread, if the caller is the client that it says it is."""
        admission = self._admission
        shown = None if admission is None else shown_certificate(context)

        def admitted() -> T:
            if admission is not None:
                admission.check(shown, client_id)
            return answer()

        return await in_thread(self._asking, admitted)


def _close(beginning: asyncio.Future[Reception | Refusal]) -> None:
    """Close what was begun for a caller that has gone."""
    if not beginning.cancelled() and beginning.exception() is None:
        begun = beginning.result()
        if isinstance(begun, Reception):
            begun.close()

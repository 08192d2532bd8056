"""Calls to the server: deadlines, bounded retries with jitter, resumption, bytes counted.

Nothing here waits for ever: every call has a deadline, and a call that brings no progress is
repeated a bounded number of times. Transfers may take as long as they move: their deadline is the
server's own, or the end of the lease.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from fedvoice.device_runtime.causes import cause_of
from fedvoice.device_runtime.identity import Identity
from fedvoice.device_runtime.line import Chunks, Line, Way, chunk_bytes
from fedvoice.device_runtime.outbox import PendingReport
from fedvoice.device_runtime.retries import CallPolicy, IncompleteError, rejected, repeated
from fedvoice.device_runtime.silence import Silence
from fedvoice.protocol.addresses import is_loopback
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc as pb_grpc
from fedvoice.protocol.random import Stream

_T = TypeVar("_T")
_Reply = TypeVar("_Reply", bound=Message)

FRAME_HEADER_BYTES = 5  # gRPC's own, before every message
_CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # gRPC's own pause before it connects anew grows to two minutes: longer than a phone's
    # retries, which would then never see that the server is back.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5000),
    # A lost network is noticed while a call waits, however long it says nothing; no ping wakes
    # the radio between calls.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
)


def connect(server: str, trust: bytes | Identity | None = None) -> grpc.Channel:
    """A channel to HOST:PORT; the phones of a process may share it. The caller closes it.

    Args:
        trust: an enrolled phone's identity; or the authority's certificate (PEM), to be enrolled;
            or None: no encryption, for one machine or a private network.
    """
    options = _CHANNEL_OPTIONS
    if is_loopback(server):
        # A proxy of the environment would be asked for its own loopback.
        options = (*options, ("grpc.enable_http_proxy", 0))
    if trust is None:
        return grpc.insecure_channel(server, options=options)
    if isinstance(trust, bytes):
        credentials = grpc.ssl_channel_credentials(root_certificates=trust)
    else:
        credentials = trust.credentials()
    return grpc.secure_channel(server, credentials, options=options)


@dataclass
class Traffic:
    """Bytes of messages (with gRPC's frame headers) and calls of one session."""

    bytes_up: int = 0
    bytes_down: int = 0
    attempts: int = 0

    def sent(self, message: Message) -> None:
        """Count a message to the server."""
        self.bytes_up += message.ByteSize() + FRAME_HEADER_BYTES

    def received(self, message: Message) -> None:
        """Count a message from the server."""
        self.bytes_down += message.ByteSize() + FRAME_HEADER_BYTES


class ServerCalls:
    """The four calls of the service over one channel, for one session of one phone.

    Args:
        server: the address, for errors.
        jitter: the phone's RETRY stream.
        identity: of an enrolled phone, for errors.
        line: what is known of the phone's line.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        server: str,
        policy: CallPolicy,
        jitter: Stream,
        sleep: Callable[[float], None] = time.sleep,
        identity: Identity | None = None,
        line: Line | None = None,
    ) -> None:
        self._stub: Any = pb_grpc.AggregationStub(channel)  # type: ignore[no-untyped-call]
        self._server = server
        self._policy = policy
        self._jitter = jitter
        self._sleep = sleep
        self._identity = identity
        self._line = line or Line()
        self.traffic = Traffic()

    def check_in(self, request: pb.CheckInRequest) -> pb.CheckInReply:
        """Ask for work.

        Raises:
            FedvoiceError: `server-unreachable`, `server-rejected`, `bad-credentials`; so do all
                the others.
        """
        method: Callable[..., pb.CheckInReply] = self._stub.CheckIn
        return self._retrying("CheckIn", lambda: self._unary(method, request))

    def report_status(self, request: pb.ReportStatusRequest) -> pb.ReportStatusReply:
        """How much of a report the server holds."""
        method: Callable[..., pb.ReportStatusReply] = self._stub.ReportStatus
        return self._retrying("ReportStatus", lambda: self._unary(method, request))

    def fetch(
        self,
        blob: pb.Blob,
        partial: Path,
        client_id: str,
        assignment_id: str,
        left_secs: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """Complete `partial` to the blob's size, resuming where it ends.

        Args:
            left_secs: of the lease.

        Raises:
            LeaseOverError: it has ended.
        """

        def held_bytes() -> int:
            held = partial.stat().st_size if partial.exists() else 0
            if held > blob.size_bytes:
                partial.unlink()
                return 0
            return held

        def attempt() -> None:
            offset = held_bytes()
            if offset == blob.size_bytes:
                partial.touch()
                return
            if left_secs() <= 0:
                raise LeaseOverError
            request = pb.FetchRequest(
                digest=blob.digest,
                offset=offset,
                client_id=client_id,
                assignment_id=assignment_id,
                chunk_bytes=chunk_bytes(self._line.bytes_per_sec(Way.DOWN)),
            )
            self._fetch_rest(request, partial, blob.size_bytes, left_secs())

        with self._line.measured(Way.DOWN) as come:
            begun = held_bytes()
            try:
                self._retrying("Fetch", attempt, progress=held_bytes)
            finally:
                come.data_bytes = max(0, held_bytes() - begun)

    def _fetch_rest(
        self, request: pb.FetchRequest, partial: Path, size_bytes: int, left_secs: float
    ) -> None:
        self.traffic.sent(request)
        silence = Silence(self._policy.silence_secs)
        call = self._stub.Fetch(request, timeout=min(self._policy.longest_secs, left_secs))
        with partial.open("ab") as file, silence.watching(call):
            for chunk in _unless_silent(silence, call):
                silence.moved()
                self.traffic.received(chunk)
                if file.tell() + len(chunk.data) > size_bytes:
                    call.cancel()
                    raise rejected("Fetch", self._server, f"more than {size_bytes} bytes")
                file.write(chunk.data)
            complete = file.tell() == size_bytes
        if not complete:
            raise IncompleteError("the stream ended early")

    def report(self, report: PendingReport, offset: int) -> pb.ReportReply:
        """Send a report's bytes from `offset` on. After a broken call: ask where to resume."""
        position: int | None = offset
        reached = offset

        def held_bytes() -> int:
            header = report.header
            request = pb.ReportStatusRequest(client_id=header.client_id, report_id=header.report_id)
            status: pb.ReportStatusReply = self._unary(self._stub.ReportStatus, request)
            return status.received_bytes

        def attempt() -> pb.ReportReply:
            nonlocal position, reached
            if position is None:
                # To send all of it again costs more than to ask once more.
                position = held_bytes()
            sending = _Sending(report, position, self._line.bytes_per_sec(Way.UP))
            try:
                return self._report_rest(sending)
            finally:
                reached = sending.taken_bytes

        def resume() -> int:
            nonlocal position, reached
            try:
                position = reached = held_bytes()
            except grpc.RpcError:
                position = None  # not known: the line is still away
            return position or 0

        with self._line.measured(Way.UP) as gone:
            try:
                return self._retrying("Report", attempt, progress=resume)
            finally:
                gone.data_bytes = max(0, reached - offset)

    def _report_rest(self, sending: _Sending) -> pb.ReportReply:
        silence = Silence(self._policy.silence_secs)

        def messages() -> Iterator[pb.ReportRequest]:
            for message in sending.messages():
                silence.moved()
                self.traffic.sent(message)
                yield message
            silence.moved()

        call = self._stub.Report.future(messages(), timeout=self._policy.longest_secs)
        with silence.watching(call):
            try:
                reply: pb.ReportReply = call.result()
            except grpc.FutureCancelledError:
                why = _nothing_moved(silence.longest_secs) if silence.ended else "cancelled"
                raise IncompleteError(why) from None
            except BaseException:
                call.cancel()  # a person stops the phone
                raise
        self.traffic.received(reply)
        return reply

    def _unary(self, method: Callable[..., _Reply], request: Message) -> _Reply:
        self.traffic.sent(request)
        reply = method(request, timeout=self._policy.timeout_secs)
        self.traffic.received(reply)
        return reply

    def _retrying(
        self,
        name: str,
        attempt: Callable[[], _T],
        progress: Callable[[], int] = lambda: 0,
    ) -> _T:
        def counted() -> _T:
            self.traffic.attempts += 1
            return attempt()

        return repeated(
            name,
            self._server,
            counted,
            policy=self._policy,
            jitter=self._jitter,
            sleep=self._sleep,
            progress=progress,
            identity=self._identity,
            cause=lambda: cause_of(f"{name} at {self._server}", self._server, self._identity),
        )


class _Sending:
    """The messages of one report, from an offset on.

    Args:
        bytes_per_sec: of the line so far; 0: not known.
    """

    def __init__(self, report: PendingReport, offset: int, bytes_per_sec: float) -> None:
        self._report, self._offset = report, offset
        self._chunks = Chunks(bytes_per_sec)
        self.taken_bytes = offset
        """How far gRPC has taken the payload."""

    def messages(self) -> Iterator[pb.ReportRequest]:
        header = pb.ReportHeader()
        header.CopyFrom(self._report.header)
        header.offset = self._offset
        yield pb.ReportRequest(header=header)
        payload = self._report.payload
        while self.taken_bytes < len(payload):
            data = payload[self.taken_bytes : self.taken_bytes + self._chunks.size]
            began = time.monotonic()
            # Comes back here when gRPC wants the next message.
            yield pb.ReportRequest(chunk=pb.Chunk(data=data))
            self._chunks.took(len(data), time.monotonic() - began)
            self.taken_bytes += len(data)


def _unless_silent(silence: Silence, call: Iterable[pb.Chunk]) -> Iterator[pb.Chunk]:
    """The call's messages; `IncompleteError` if it was ended for its silence."""
    try:
        yield from call
    except grpc.RpcError as error:
        if silence.ended:
            raise IncompleteError(_nothing_moved(silence.longest_secs)) from error
        raise


def _nothing_moved(secs: float) -> str:
    return f"nothing has moved for {secs:g} s"


class LeaseOverError(Exception):
    """The lease has ended in mid-transfer."""

"""Calls to the server: deadlines, bounded retries with jitter, resumption, bytes counted.

Nothing here waits for ever: every call has a deadline, and a call that brings no progress is
repeated a bounded number of times.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from fedvoice.device_runtime.identity import Identity, bad_credentials
from fedvoice.device_runtime.outbox import PendingReport
from fedvoice.protocol.addresses import is_loopback, proxy_for
from fedvoice.protocol.codec import CHUNK_BYTES
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc as pb_grpc
from fedvoice.protocol.random import Stream

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_Reply = TypeVar("_Reply", bound=Message)

FRAME_HEADER_BYTES = 5  # gRPC's own, before every message
_RETRYABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,  # a broken stream, or an error inside the server
        grpc.StatusCode.INTERNAL,
    }
)
# A handshake that a broken line failed is retried; these are not.
_HANDSHAKE_SIGNS = ("certificate", "wrong_version_number")

_CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # gRPC's own pause before it connects anew grows to two minutes: longer than a phone's
    # retries, which would then never see that the server is back.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5000),
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


@dataclass(frozen=True)
class CallPolicy:
    """The retry policy of a phone.

    The k-th repetition waits backoff_secs * 2^k * u, u uniform in 0.5..1.5, at most
    max_backoff_secs.
    """

    timeout_secs: float = 30.0
    max_attempts: int = 5
    backoff_secs: float = 0.5
    max_backoff_secs: float = 30.0


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
    """

    def __init__(
        self,
        channel: grpc.Channel,
        server: str,
        policy: CallPolicy,
        jitter: Stream,
        sleep: Callable[[float], None] = time.sleep,
        identity: Identity | None = None,
    ) -> None:
        self._stub: Any = pb_grpc.AggregationStub(channel)  # type: ignore[no-untyped-call]
        self._server = server
        self._policy = policy
        self._jitter = jitter
        self._sleep = sleep
        self._identity = identity
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

    def fetch(self, blob: pb.Blob, partial: Path, client_id: str, assignment_id: str) -> None:
        """Complete `partial` to the blob's size, resuming where it ends."""

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
            request = pb.FetchRequest(
                digest=blob.digest,
                offset=offset,
                client_id=client_id,
                assignment_id=assignment_id,
            )
            self.traffic.sent(request)
            with partial.open("ab") as file:
                for chunk in self._stub.Fetch(request, timeout=self._policy.timeout_secs):
                    self.traffic.received(chunk)
                    if file.tell() + len(chunk.data) > blob.size_bytes:
                        raise rejected("Fetch", self._server, f"more than {blob.size_bytes} bytes")
                    file.write(chunk.data)
                complete = file.tell() == blob.size_bytes
            if not complete:
                raise IncompleteError("the stream ended early")

        self._retrying("Fetch", attempt, progress=held_bytes)

    def report(self, report: PendingReport, offset: int) -> pb.ReportReply:
        """Send a report's bytes from `offset` on. After a broken call: ask where to resume."""
        position: int | None = offset

        def held_bytes() -> int:
            header = report.header
            request = pb.ReportStatusRequest(client_id=header.client_id, report_id=header.report_id)
            status: pb.ReportStatusReply = self._unary(self._stub.ReportStatus, request)
            return status.received_bytes

        def attempt() -> pb.ReportReply:
            nonlocal position
            if position is None:
                # To send all of it again costs more than to ask once more.
                position = held_bytes()
            reply: pb.ReportReply = self._stub.Report(
                self._report_messages(report, position), timeout=self._policy.timeout_secs
            )
            self.traffic.received(reply)
            return reply

        def resume() -> int:
            nonlocal position
            try:
                position = held_bytes()
            except grpc.RpcError:
                position = None  # not known: the line is still away
            return position or 0

        return self._retrying("Report", attempt, progress=resume)

    def _report_messages(self, report: PendingReport, offset: int) -> Iterator[pb.ReportRequest]:
        header = pb.ReportHeader()
        header.CopyFrom(report.header)
        header.offset = offset
        message = pb.ReportRequest(header=header)
        self.traffic.sent(message)
        yield message
        for start in range(offset, len(report.payload), CHUNK_BYTES):
            chunk = pb.Chunk(data=report.payload[start : start + CHUNK_BYTES])
            message = pb.ReportRequest(chunk=chunk)
            self.traffic.sent(message)
            yield message

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
        )


def repeated(
    name: str,
    server: str,
    attempt: Callable[[], _T],
    *,
    policy: CallPolicy,
    jitter: Stream,
    sleep: Callable[[float], None] = time.sleep,
    progress: Callable[[], int] = lambda: 0,
    identity: Identity | None = None,
) -> _T:
    """Repeat `attempt` as the policy says; failures after which `progress` has grown do not count.

    Raises:
        FedvoiceError: `server-unreachable`, `server-rejected`, `bad-credentials`.
    """
    failures = 0
    reached = 0
    while True:
        try:
            return attempt()
        except (grpc.RpcError, IncompleteError) as error:
            code, text = _facts(error)
            refused = credentials_refused(code, text, identity)
            if refused is not None:
                raise bad_credentials(
                    f"{name} at {server}", f"{code.name}: {text[:300]}", refused
                ) from error
            if code not in _RETRYABLE:
                raise rejected(name, server, f"{code.name}: {text}") from error
            failures += 1
            if failures >= policy.max_attempts:
                raise _unreachable(name, server, f"{code.name}: {text}", failures) from error
            pause_secs = min(
                policy.max_backoff_secs,
                policy.backoff_secs * 2 ** (failures - 1) * (0.5 + jitter.uniform()),
            )
            _log.info("%s failed (%s), again in %.1f s", name, code.name, pause_secs)
            sleep(pause_secs)
        now_at = progress()
        if now_at > reached:
            failures, reached = 0, now_at


def credentials_refused(code: grpc.StatusCode, text: str, identity: Identity | None) -> str | None:
    """The next step if a call failed because of the client's or the server's identity; else None.

    gRPC reports a failed handshake as UNAVAILABLE, like a server that is not there. With TLS 1.3
    a server that refuses the phone's certificate shows itself as a connection that breaks, hence
    the look at the certificate's own dates.
    """
    ask = "Ask for a new invitation: fedvoice device --invitation. The phone keeps its work."
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return ask
    if code is not grpc.StatusCode.UNAVAILABLE:
        return None
    if any(sign in text.lower() for sign in _HANDSHAKE_SIGNS):
        return (
            "Check this machine's clock, and that the address is the server's that the invitation "
            f"came from. Else: {ask[0].lower()}{ask[1:]}"
        )
    if identity is not None and not identity.valid(datetime.now(UTC)):
        return (
            f"The phone's certificate holds from {identity.issued:%Y-%m-%d} to "
            f"{identity.expires:%Y-%m-%d}: check this machine's clock. {ask}"
        )
    return None


def rejected(name: str, server: str, got: str) -> FedvoiceError:
    """The error for a call that the server refused."""
    return FedvoiceError(
        ErrorCode.SERVER_REJECTED,
        where=f"{name} at {server}",
        got=got,
        wanted="an answer by the protocol",
        next_step="See the server's log; update the side that is older.",
    )


def _unreachable(name: str, server: str, got: str, attempts: int) -> FedvoiceError:
    proxy = proxy_for(server)
    through = f"Calls go through the proxy {proxy}: add the server's host to no_proxy. "
    return FedvoiceError(
        ErrorCode.SERVER_UNREACHABLE,
        where=f"{name} at {server}",
        got=f"{got}, {attempts} times" + (f", through the proxy {proxy}" if proxy else ""),
        wanted="an aggregation server that answers",
        next_step=(through if proxy else "")
        + "Check the address and that `fedvoice serve` runs; the phone keeps its work "
        "and may call again.",
    )


class IncompleteError(Exception):
    """A stream that ended without an error before all had come."""


def _facts(error: Exception) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, grpc.Call):
        return error.code(), error.details() or ""
    return grpc.StatusCode.UNAVAILABLE, str(error)

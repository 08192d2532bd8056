"""Repeats calls that failed, a bounded number of times and ever more slowly."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import grpc

from fedvoice.device_runtime.identity import Identity, bad_credentials
from fedvoice.protocol.addresses import proxy_for
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.random import Stream

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

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


@dataclass(frozen=True)
class CallPolicy:
    """The retry policy of a phone.

    The k-th repetition waits backoff_secs * 2^k * u, u uniform in 0.5..1.5, at most
    max_backoff_secs.

    timeout_secs: of calls of one message each way.
    silence_secs: of transfers: as long as a server's `[streams]` wait for a silent or slow one, so
        that it is the server that ends them and says what it has.
    longest_secs: of a transfer, if its lease does not end sooner; a server's `longest_secs`.
    """

    timeout_secs: float = 30.0
    silence_secs: float = 90.0
    longest_secs: float = 3600.0
    max_attempts: int = 5
    backoff_secs: float = 0.5
    max_backoff_secs: float = 30.0


class IncompleteError(Exception):
    """A stream that ended without an error before all had come."""


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
    cause: Callable[[], FedvoiceError | None] = lambda: None,
) -> _T:
    """Repeat `attempt` as the policy says; failures after which `progress` has grown do not count.

    Args:
        cause: asked once, when no server answers: what is raised in place of trying on.

    Raises:
        FedvoiceError: `server-unreachable`, `server-rejected`, `bad-credentials`.
    """
    failures = 0
    reached = 0
    looked = False
    while True:
        try:
            return attempt()
        except (grpc.RpcError, IncompleteError) as error:
            code, text = _facts(error)
            if code is grpc.StatusCode.UNAVAILABLE and not looked:
                looked = True
                found = cause()
                if found is not None:
                    raise found from error
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


def _facts(error: Exception) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, grpc.Call):
        return error.code(), error.details() or ""
    return grpc.StatusCode.UNAVAILABLE, str(error)

"""Why a server cannot be called, found by one plain look at it.

gRPC says UNAVAILABLE for a server that is away, one without TLS, one of another authority and one
that refuses the phone's certificate; under TLS 1.3 without a word more.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import closing
from datetime import UTC, datetime

from fedvoice.device_runtime.identity import Identity, bad_credentials
from fedvoice.protocol.addresses import host_of, proxy_for
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

_LOOK_SECS = 5.0
_FRAME_BYTES = 9
_SETTINGS = 4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0))
"""How an HTTP/2 client begins, with empty settings (RFC 9113, section 3.4)."""
_ASK = "Ask for a new invitation: fedvoice device --invitation. The phone keeps its work."
# Of OpenSSL's X509_verify_cert_error_string.
_NOT_YET_VALID, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64


def cause_of(where: str, server: str, trust: bytes | Identity | None) -> FedvoiceError | None:
    """What is wrong between this phone and HOST:PORT; None if nothing is found, the server is away
    or is reached through a proxy.

    Three connections at most, each of 5 s at most.

    Args:
        trust: as `calls.connect` takes it.
    """
    if proxy_for(server) or server.startswith("unix:"):
        return None
    if trust is None:
        answer = _answer(server)
        return None if answer is None or _is_settings(answer) else _wants_tls(where, server)
    return _look_with_tls(where, server, trust)


def _look_with_tls(where: str, server: str, trust: bytes | Identity) -> FedvoiceError | None:
    own = trust if isinstance(trust, Identity) else None
    context = _context(trust)
    try:
        # A server that does not take the phone's certificate ends the connection where its
        # settings are due (TLS 1.3), mostly without an alert. So does one that is just being
        # stopped, but not twice.
        refused = all(_is_ended(context, server) for _ in range(2))
    except ssl.SSLCertVerificationError as error:
        return _untrusted(where, host_of(server), error)
    except ssl.SSLError as error:
        if not _is_refusal(error):
            return _without_tls(where, server)
        refused = True
    except OSError:
        return _without_tls(where, server)
    return _refused(where, own) if refused and own is not None else None


def _context(trust: bytes | Identity) -> ssl.SSLContext:
    authority = trust if isinstance(trust, bytes) else trust.authority
    context = ssl.create_default_context(cadata=authority.decode("ascii"))
    context.set_alpn_protocols(["h2"])
    if isinstance(trust, Identity):
        context.load_cert_chain(trust.folder / "certificate.pem", trust.folder / "key.pem")
    return context


def _is_ended(context: ssl.SSLContext, server: str) -> bool:
    """Whether a server ends the connection when the handshake is over."""
    with (
        closing(_connected(server)) as plain,
        context.wrap_socket(plain, server_hostname=host_of(server)) as secure,
    ):
        try:
            secure.sendall(_PREFACE)
            return not secure.recv(_FRAME_BYTES)
        except (ConnectionError, ssl.SSLEOFError):
            return True  # so an end looks to whoever still writes


def _connected(server: str) -> socket.socket:
    return socket.create_connection(
        (host_of(server), int(server.rpartition(":")[2])), timeout=_LOOK_SECS
    )


def _answer(server: str) -> bytes | None:
    """The first bytes of an answer without encryption; empty: it ended, None: nobody is there."""
    try:
        connection = _connected(server)
    except OSError:
        return None
    with closing(connection):
        try:
            connection.sendall(_PREFACE)
            return connection.recv(_FRAME_BYTES)
        except OSError:
            return b""


def _is_settings(answer: bytes | None) -> bool:
    return answer is not None and len(answer) > 3 and answer[3] == _SETTINGS and answer[0] == 0


def _is_refusal(error: ssl.SSLError) -> bool:
    reason = error.reason or ""
    signs = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
    return "ALERT" in reason and any(sign in reason for sign in signs)


def _wants_tls(where: str, server: str) -> FedvoiceError | None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with closing(_connected(server)) as plain:
            context.wrap_socket(plain, server_hostname=host_of(server)).close()
    except ssl.SSLError as error:
        if "ALERT" not in (error.reason or ""):
            return None
    except OSError:
        return None
    return FedvoiceError(
        ErrorCode.BAD_CREDENTIALS,
        where=where,
        got="a server with TLS, called without",
        wanted="an invitation of this server, with which the phone gets a certificate",
        next_step="Make one with `fedvoice invite` on the server's machine and give it as "
        "--invitation in place of --server; or start the server with --insecure.",
    )


def _without_tls(where: str, server: str) -> FedvoiceError | None:
    answer = _answer(server)
    if _is_settings(answer):
        got, next_step = (
            "a server without TLS; nothing was sent to it",
            "Start `fedvoice serve` without --insecure; a server on the same machine may be "
            "called without an invitation, by --server. The phone keeps its work.",
        )
    elif answer is not None and answer.startswith(b"HTTP/1"):
        got, next_step = (
            "a web page's answer, and not fedvoice's",
            "Check address and port; in a network with a login page, log in first. The phone "
            "keeps its work.",
        )
    else:
        return None
    return FedvoiceError(
        ErrorCode.SERVER_UNREACHABLE,
        where=where,
        got=got,
        wanted="the server that the invitation came from, which answers with TLS",
        next_step=next_step,
    )


def _untrusted(where: str, host: str, error: ssl.SSLCertVerificationError) -> FedvoiceError:
    if error.verify_code in (_NOT_YET_VALID, _EXPIRED):
        got = f"a server's certificate that does not hold now: {error.verify_message}"
        next_step = "Check the clocks of this machine and of the server's; then start it again."
    elif error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
        got = f"a server's certificate that does not name {host}"
        next_step = (
            f"Start the server with `--name {host}`, or ask for an invitation to a name it has."
        )
    else:
        got = "a certificate of another authority than the invitation's: it is another server"
        next_step = (
            "Check that the address is the server's that the invitation came from and that its "
            f"store's tls/ is still the same. {_ASK}"
        )
    return bad_credentials(where, got, next_step)


def _refused(where: str, own: Identity) -> FedvoiceError | None:
    if not own.valid(datetime.now(UTC)):
        return None  # its dates are told by the caller
    return bad_credentials(where, "the server refuses the phone's certificate", _ASK)

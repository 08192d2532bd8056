"""`fedvoice.v1.Enrolment`: how a phone gets its certificate."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.calls import (
    Context,
    RefusedError,
    answering,
    in_thread,
    one_message,
    shown_certificate,
)
from fedvoice.server.limits import parsed
from fedvoice.server.security.admission import Admission
from fedvoice.server.security.authority import Authority, key_bytes
from fedvoice.server.security.credentials import Credentials, NameTakenError, TokenRefusedError

log = logging.getLogger("fedvoice.server")

LONGEST_NAME = 64
"""Characters of a client_id in a certificate (X.520's bound of a common name)."""
WRONG_TRIES_A_MINUTE = 10
_LARGEST_REQUEST_BYTES = 8192
_RSA_BITS = (2048, 4096)
_ADDRESSES_REMEMBERED = 1024
_MESSAGE_SECS = 10.0
"""Longest wait for a call's message."""

Clock = Callable[[], float]


class BadRequestError(Exception):
    """A certificate request that the authority does not sign; the text says why."""


def read_request(data: bytes) -> tuple[x509.CertificateSigningRequest, str]:
    """A PKCS #10 request (DER), checked, and the client_id that it is for.

    Raises:
        BadRequestError: damaged, not signed by its own key, a weak key, or a bad name.
    """
    if len(data) > _LARGEST_REQUEST_BYTES:
        raise BadRequestError(f"{len(data)} bytes, more than {_LARGEST_REQUEST_BYTES}")
    try:
        request = x509.load_der_x509_csr(data)
        key = request.public_key()
        signed = request.is_signature_valid
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except Exception as error:  # the library raises many kinds at what strangers send
        raise BadRequestError(f"not a PKCS #10 request in DER ({error!r})") from error
    if isinstance(key, ec.EllipticCurvePublicKey):
        good = isinstance(key.curve, ec.SECP256R1)
    else:
        good = isinstance(key, rsa.RSAPublicKey) and _RSA_BITS[0] <= key.key_size <= _RSA_BITS[1]
    if not good:
        raise BadRequestError("a key that is neither EC P-256 nor RSA of 2048 to 4096 bits")
    if not signed:
        raise BadRequestError("a signature that is not by its own key")
    name = names[0].value if len(names) == 1 else ""
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
        raise BadRequestError(
            f"no common name that is a client_id: 1 to {LONGEST_NAME} printable characters"
        )
    return request, name


class WrongTries:
    """Counts wrong tokens by the caller's address: one caller cannot lock out the others."""

    def __init__(self, clock: Clock, most: int = WRONG_TRIES_A_MINUTE) -> None:
        self._clock, self._most = clock, most
        self._lock = threading.Lock()
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def too_many(self, address: str) -> bool:
        """Whether this address must wait."""
        with self._lock:
            times = self._times.get(address, deque())
            while times and times[0] <= self._clock() - 60:
                times.popleft()
            return len(times) >= self._most

    def add(self, address: str) -> None:
        """Count one more wrong token from this address."""
        with self._lock:
            self._times.setdefault(address, deque(maxlen=self._most)).append(self._clock())
            self._times.move_to_end(address)
            while len(self._times) > _ADDRESSES_REMEMBERED:
                self._times.popitem(last=False)


class EnrolService:
    """`Enrol` alone: what is served on the address that asks for no certificate."""

    def __init__(
        self, authority: Authority, credentials: Credentials, clock: Clock, threads: Executor
    ) -> None:
        self._authority, self._credentials, self._clock = authority, credentials, clock
        self._wrong, self._threads = WrongTries(clock), threads

    def handlers(self) -> grpc.GenericRpcHandler:
        """The call, with messages as bytes."""
        return _handlers(Enrol=self.enrol)

    @answering
    async def enrol(self, data: bytes, context: Context) -> bytes:
        """A certificate for a one-time token."""
        request = parsed(pb.EnrolRequest, data)
        address = _host(context.peer())
        return await in_thread(self._threads, lambda: self._enrolled(request, address))

    def _enrolled(self, request: pb.EnrolRequest, address: str) -> bytes:
        csr, client_id = _request(request.certificate_request)
        try:
            certificate = self._credentials.redeem(
                request.token,
                client_id,
                _digest(csr),
                lambda: self._authority.issue(csr.public_key(), client_id),
                self._clock(),
            )
        except TokenRefusedError:
            # A right token is always taken, also from a guesser's address: phones share addresses.
            if self._wrong.too_many(address):
                raise RefusedError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{WRONG_TRIES_A_MINUTE} wrong tokens within a minute from this address; wait",
                ) from None
            self._wrong.add(address)
            log.warning("wrong token from %s for client %r", address, client_id)
            raise RefusedError(
                grpc.StatusCode.PERMISSION_DENIED,
                "the invitation is unknown, has expired, or was used by another phone; ask for a "
                "new one",
            ) from None
        except NameTakenError:
            raise RefusedError(
                grpc.StatusCode.ALREADY_EXISTS,
                f"client {client_id!r} is enrolled with another key; choose another client_id, or "
                "have it revoked first (fedvoice invite --revoke)",
            ) from None
        log.info("enrolled client=%r from %s", client_id, address)
        reply = pb.EnrolReply(certificate=certificate, authority=self._authority.der)
        return reply.SerializeToString()


class RenewService:
    """`Renew` alone: what is served on the main address."""

    def __init__(
        self,
        authority: Authority,
        credentials: Credentials,
        admission: Admission,
        threads: Executor,
    ) -> None:
        self._authority, self._credentials = authority, credentials
        self._admission, self._threads = admission, threads

    def handlers(self) -> grpc.GenericRpcHandler:
        """The call, with messages as bytes."""
        return _handlers(Renew=self.renew)

    @answering
    async def renew(self, data: bytes, context: Context) -> bytes:
        """A new certificate for a phone that shows its old one."""
        request = parsed(pb.RenewRequest, data)
        shown = shown_certificate(context)
        return await in_thread(self._threads, lambda: self._renewed(request, shown))

    def _renewed(self, request: pb.RenewRequest, shown: bytes | None) -> bytes:
        csr, client_id = _request(request.certificate_request)
        self._admission.check(shown, client_id)
        issued = self._authority.issue(csr.public_key(), client_id)
        self._credentials.add(client_id, _digest(csr), issued)
        log.info("renewed client=%r", client_id)
        reply = pb.EnrolReply(certificate=issued.certificate, authority=self._authority.der)
        return reply.SerializeToString()


def _handlers(
    **calls: Callable[[bytes, Context], Coroutine[Any, Any, bytes]],
) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(
        "fedvoice.v1.Enrolment",
        {
            name: grpc.stream_unary_rpc_method_handler(one_message(call, _MESSAGE_SECS))
            for name, call in calls.items()
        },
    )


def _request(data: bytes) -> tuple[x509.CertificateSigningRequest, str]:
    try:
        return read_request(data)
    except BadRequestError as error:
        raise RefusedError(
            grpc.StatusCode.INVALID_ARGUMENT, f"certificate_request: {error}"
        ) from None


def _digest(request: x509.CertificateSigningRequest) -> str:
    return hashlib.sha256(key_bytes(request.public_key())).hexdigest()


def _host(peer: str) -> str:
    # ipv4:192.0.2.1:5000, ipv6:%5B::1%5D:5000; unix: has no port.
    return peer.rpartition(":")[0] or peer

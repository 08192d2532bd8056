"""Who a phone is towards its server: a key, the certificate for it, and whom it trusts.

    identity/key.pem          the phone's private key, EC P-256; never leaves the phone
    identity/authority.pem    the server's authority
    identity/server           HOST:PORT
    identity/invitation       sha256 of the invitation used, so that it may be given again
    identity/certificate.pem  written last: a phone that has it is enrolled

The client_id is the certificate's common name.
"""

from __future__ import annotations

import datetime
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fedvoice.device_runtime.files import room_on_disk
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import write_file
from fedvoice.protocol.invitation import Invitation

LONGEST_NAME = 64
RENEW_FRACTION = 1 / 3
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Identity:
    """An enrolled phone. Times are UTC.

    Args:
        folder: where it is kept.
        server: HOST:PORT.
        key, certificate, authority: PEM.
    """

    folder: Path
    server: str
    key: bytes
    certificate: bytes
    authority: bytes
    client_id: str
    issued: datetime.datetime
    expires: datetime.datetime

    def credentials(self) -> grpc.ChannelCredentials:
        """For a channel to the main address."""
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)

    def renewal_due(self, now: datetime.datetime) -> bool:
        """Whether less than a third of the certificate's life is left, by this machine's clock."""
        return self.expires - now < (self.expires - self.issued) * RENEW_FRACTION

    def valid(self, now: datetime.datetime) -> bool:
        """Whether the certificate holds, by this machine's clock."""
        return self.issued <= now <= self.expires

    def certificate_request(self) -> bytes:
        """For the same key and name, PKCS #10, DER."""
        return _request(_load_key(self.folder / "key.pem"), self.client_id)

    def renewed(self, certificate: bytes) -> Identity:
        """Keep a new certificate (DER) for the same key.

        Raises:
            FedvoiceError: `bad-credentials` if it is not one; `no-space`.
        """
        pem = _checked(self.folder, certificate, self.client_id)
        with room_on_disk(self.folder):
            _keep(self.folder / "certificate.pem", pem)
        found = load(self.folder)
        assert found is not None, "it was kept just now"
        return found


def load(folder: Path) -> Identity | None:
    """The identity kept in `folder`; None if the phone is not enrolled.

    Raises:
        FedvoiceError: `bad-credentials` if its files are damaged.
    """
    path = folder / "certificate.pem"
    if not path.is_file():
        return None
    try:
        key, certificate = (folder / "key.pem").read_bytes(), path.read_bytes()
        parsed = x509.load_pem_x509_certificate(certificate)
        if not _same_key(_load_key(folder / "key.pem"), parsed):
            raise ValueError("a certificate for another key")
        return Identity(
            folder=folder,
            server=(folder / "server").read_text(encoding="utf-8").strip(),
            key=key,
            certificate=certificate,
            authority=(folder / "authority.pem").read_bytes(),
            client_id=_name(parsed),
            issued=parsed.not_valid_before_utc,
            expires=parsed.not_valid_after_utc,
        )
    except (OSError, ValueError) as error:
        raise bad_credentials(
            str(folder), str(error), "Delete that folder and give a new --invitation."
        ) from error


def prepare(folder: Path, client_id: str) -> bytes:
    """The request for a first certificate (DER). The key is made once and kept, so that an
    enrolment whose reply was lost can be repeated.

    Raises:
        FedvoiceError: `bad-credentials`, `bad-config`, `no-space`.
    """
    if not 0 < len(client_id) <= LONGEST_NAME or not client_id.isprintable():
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="--client-id",
            got=repr(client_id),
            wanted=f"1 to {LONGEST_NAME} printable characters",
            next_step="Choose another, or leave it out.",
        )
    path = folder / "key.pem"
    with room_on_disk(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.is_file():
            key = ec.generate_private_key(ec.SECP256R1())
            _keep(
                path,
                key.private_bytes(
                    _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                ),
            )
    try:
        return _request(_load_key(path), client_id)
    except ValueError as error:
        raise bad_credentials(
            str(path), str(error), "Delete that folder and give a new --invitation."
        ) from error


def adopt(folder: Path, invitation: Invitation, certificate: bytes, client_id: str) -> Identity:
    """Keep what an enrolment gave; the certificate (DER) last.

    Raises:
        FedvoiceError: `bad-credentials` if it is not for this phone; `no-space`.
    """
    pem = _checked(folder, certificate, client_id)
    with room_on_disk(folder):
        (folder / "certificate.pem").unlink(missing_ok=True)
        _keep(folder / "authority.pem", invitation.authority.encode("ascii"))
        _keep(folder / "server", f"{invitation.server}\n".encode())
        _keep(folder / "invitation", f"{_digest(invitation)}\n".encode())
        _keep(folder / "certificate.pem", pem)
    found = load(folder)
    assert found is not None, "it was kept just now"
    return found


def used_before(folder: Path, invitation: Invitation) -> bool:
    """Whether this phone was enrolled with that invitation."""
    path = folder / "invitation"
    return path.is_file() and path.read_text(encoding="ascii").strip() == _digest(invitation)


def bad_credentials(where: str, got: str, next_step: str) -> FedvoiceError:
    """The error for an unusable key, certificate or invitation."""
    return FedvoiceError(
        ErrorCode.BAD_CREDENTIALS,
        where=where,
        got=got,
        wanted="a key and a certificate that the server takes",
        next_step=next_step,
    )


def _request(key: ec.EllipticCurvePrivateKey, client_id: str) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, client_id)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def _checked(folder: Path, certificate: bytes, client_id: str) -> bytes:
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        good = _name(parsed) == client_id and _same_key(_load_key(folder / "key.pem"), parsed)
    except ValueError:
        good = False
    if not good:
        raise bad_credentials(
            "the server's answer",
            "a certificate that is not for this phone's key and name",
            "Update the side that is older; ask for a new invitation.",
        )
    return parsed.public_bytes(_PEM)


def _name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise ValueError("a certificate without a common name")
    return str(names[0].value)


def _same_key(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bool:
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("a key of another kind")
    return key


def _keep(path: Path, data: bytes) -> None:
    before = os.umask(0o077)
    try:
        write_file(path, data, durably=True)
    finally:
        os.umask(before)


def _digest(invitation: Invitation) -> str:
    return hashlib.sha256(invitation.encode().encode("ascii")).hexdigest()

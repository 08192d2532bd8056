"""The server's own certificate authority: made once, then kept for as long as the store is.

    tls/authority.pem      the authority's certificate; invitations carry it to the phones
    tls/authority-key.pem  its key
    tls/server.pem         the server's key and certificate, made anew when its names change, and
                           good for as long as the authority is: its key lies in the same folder

The folder appears whole, by a rename, or not at all. A folder that is damaged, or missing although
phones were enrolled under it, is an error: a new authority would shut out every phone.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import sync_file, sync_folder
from fedvoice.server.store.files import replace_file

AUTHORITY_DAYS = 3650
CLIENT_DAYS = 90
_BACKDATED = datetime.timedelta(days=1)  # phones' clocks are not all right
_FOLDER = "tls"
_CERTIFICATE, _KEY, _SERVER = "authority.pem", "authority-key.pem", "server.pem"
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Issued:
    """A certificate for a phone. `serial` in hex; secs are Unix time."""

    certificate: bytes  # DER
    serial: str
    issued_secs: float
    expires_secs: float


def make_authority(store_dir: Path) -> None:
    """Make a new authority below a store that has none."""
    folder = store_dir / _FOLDER
    aside = store_dir / f".{_FOLDER}.part"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedvoice authority")])
    now = _now()
    certificate = (
        _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_private(aside / _KEY, _key_pem(key))
    _write_private(aside / _CERTIFICATE, certificate.public_bytes(_PEM))
    for path in aside.iterdir():
        sync_file(path)
    sync_folder(aside)
    aside.rename(folder)
    sync_folder(store_dir)


def has_authority(store_dir: Path) -> bool:
    """Whether the store has a folder for one, intact or damaged."""
    return (store_dir / _FOLDER).exists()


class Authority:
    """The authority of one store. Safe to call from several threads.

    Raises (when made):
        FedvoiceError: `bad-credentials` if its files are missing or damaged.
    """

    def __init__(self, store_dir: Path) -> None:
        self._folder = store_dir / _FOLDER
        self.pem = self._read(_CERTIFICATE)
        self._lock = threading.Lock()
        try:
            self.certificate = x509.load_pem_x509_certificate(self.pem)
            key = serialization.load_pem_private_key(self._read(_KEY), password=None)
        except (ValueError, TypeError) as error:
            raise self._damaged("its files", str(error)) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not same_key(
            key.public_key(), self.certificate.public_key()
        ):
            raise self._damaged("its files", "a key and a certificate that do not belong together")
        self._key = key

    @property
    def der(self) -> bytes:
        """The authority's certificate, DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def digest(self) -> str:
        """sha256 of the certificate, hex: which authority this is."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def issue(self, public_key: CertificatePublicKeyTypes, client_id: str) -> Issued:
        """A certificate for a phone's key, for CLIENT_DAYS, with `client_id` as common name."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, client_id)])
        certificate = self._sign(name, public_key, CLIENT_DAYS, ExtendedKeyUsageOID.CLIENT_AUTH, ())
        return Issued(
            certificate=certificate.public_bytes(serialization.Encoding.DER),
            serial=f"{certificate.serial_number:x}",
            issued_secs=certificate.not_valid_before_utc.timestamp(),
            expires_secs=certificate.not_valid_after_utc.timestamp(),
        )

    def server_pair(self, names: Sequence[str]) -> tuple[bytes, bytes]:
        """The server's (key, certificate), PEM, for host names and addresses `names`, good until
        the authority's own end: the present one, or a new one if its names or its end are others.

        Raises:
            FedvoiceError: `bad-credentials` if the file is damaged; `store-full`.
        """
        with self._lock:
            path = self._folder / _SERVER
            if path.exists():
                key_pem, certificate = self._server_file()
                end = certificate.not_valid_after_utc
                same_end = end == self.certificate.not_valid_after_utc
                if set(names_of(certificate)) == set(names) and same_end:
                    return key_pem, certificate.public_bytes(_PEM)
            key = ec.generate_private_key(ec.SECP256R1())
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedvoice server")])
            made = self._sign(
                subject, key.public_key(), AUTHORITY_DAYS, ExtendedKeyUsageOID.SERVER_AUTH, names
            )
            key_pem, certificate_pem = _key_pem(key), made.public_bytes(_PEM)
            replace_file(path, lambda aside: _write_private(aside, key_pem + certificate_pem))
            return key_pem, certificate_pem

    def server_names(self) -> list[str]:
        """The names that the server's present certificate is for; none before its first start."""
        return names_of(self._server_file()[1]) if (self._folder / _SERVER).exists() else []

    def _server_file(self) -> tuple[bytes, x509.Certificate]:
        data = self._read(_SERVER)
        try:
            certificate = x509.load_pem_x509_certificate(data)
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError) as error:
            raise self._damaged(_SERVER, str(error)) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise self._damaged(_SERVER, "a key of another kind")
        return _key_pem(key), certificate

    def _sign(
        self,
        subject: x509.Name,
        public_key: CertificatePublicKeyTypes,
        days: int,
        purpose: x509.ObjectIdentifier,
        names: Sequence[str],
    ) -> x509.Certificate:
        last = self.certificate.not_valid_after_utc
        builder = (
            _builder(subject, self.certificate.subject, public_key, _now(), days, last)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _read(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise self._damaged(name, str(error.strerror or error)) from error

    def _damaged(self, name: str, got: str) -> FedvoiceError:
        # server.pem alone can be made again at no cost.
        way_out = (
            "Delete that file: the server makes it anew."
            if name == _SERVER
            else "Restore the folder from a backup. Without it every phone must be enrolled anew, "
            "by a server with a new --store."
        )
        return FedvoiceError(
            ErrorCode.BAD_CREDENTIALS,
            where=str(self._folder / name if name.endswith(".pem") else self._folder),
            got=got[:200],
            wanted="the certificate authority that this store's phones know",
            next_step=way_out,
        )


def same_key(one: CertificatePublicKeyTypes, other: CertificatePublicKeyTypes) -> bool:
    """Whether two public keys are the same."""
    return key_bytes(one) == key_bytes(other)


def key_bytes(key: CertificatePublicKeyTypes) -> bytes:
    """A public key, DER."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def names_of(certificate: x509.Certificate) -> list[str]:
    """Host names and addresses that a certificate is for."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in extension.value]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: CertificatePublicKeyTypes,
    now: datetime.datetime,
    days: int,
    last: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    end = now + datetime.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(min(end, last) if last else end)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write_private(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)

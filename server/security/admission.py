"""The check that every call on the main address passes."""

from __future__ import annotations

from functools import lru_cache

import grpc
from cryptography import x509
from cryptography.x509.oid import NameOID

from fedvoice.server.calls import RefusedError
from fedvoice.server.security.credentials import Credentials


class Admission:
    """Checks a caller's certificate against the client_id that it names. Asks the store."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def check(self, shown: bytes | None, client_id: str = "") -> None:
        """Raise `RefusedError` unless a certificate (PEM) is this client's own, or with no client
        named anybody's, and has not been revoked."""
        if shown is None:
            raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, "a client certificate is wanted")
        names, serial = _read(shown)
        if len(names) != 1 or client_id not in ("", names[0]):
            raise RefusedError(
                grpc.StatusCode.PERMISSION_DENIED,
                "the certificate is another client's than the one the message names",
            )
        if not self._credentials.good(serial, names[0]):
            raise RefusedError(
                grpc.StatusCode.UNAUTHENTICATED,
                "the certificate has been revoked; ask for a new invitation",
            )


@lru_cache(maxsize=4096)
def _read(shown: bytes) -> tuple[tuple[str, ...], str]:
    """Common names and serial number (hex) of a certificate."""
    certificate = x509.load_pem_x509_certificate(shown)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return tuple(str(name.value) for name in names), f"{certificate.serial_number:x}"

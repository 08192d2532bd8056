"""Who may call: invitations and certificates, in the store's tables.

A token is kept as its sha256 alone, so that a copy of the store gives no access. Every certificate
issued has a row; a call is answered only while the certificate's row is not revoked.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select, update

from fedvoice.server.security.authority import Issued
from fedvoice.server.store.database import Store
from fedvoice.server.store.rows import insert_rows
from fedvoice.server.store.tables import CERTIFICATES, INVITATIONS, CertificateRow, InvitationRow


@dataclass(frozen=True)
class ClientFacts:
    """A phone's latest certificate. Secs are Unix time."""

    client_id: str
    issued_secs: float
    expires_secs: float
    revoked: bool


class TokenRefusedError(Exception):
    """A token that is unknown, has expired, or was used with another key."""


class NameTakenError(Exception):
    """A client_id that is enrolled with another key."""


def token_digest(token: str) -> str:
    """sha256, hex. It is what is looked up: how long that takes tells nothing about a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Credentials:
    """The two tables. Safe to call from several threads and processes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def invite(self, valid_secs: float, now: float) -> str:
        """A new token of 256 random bits, good once and for `valid_secs`."""
        token = secrets.token_urlsafe(32)
        row = InvitationRow(
            digest=token_digest(token), created_secs=now, expires_secs=now + valid_secs
        )
        with self._store.transaction(synced=True) as connection:
            insert_rows(connection, [row])
        return token

    def redeem(
        self,
        token: str,
        client_id: str,
        key_digest: str,
        issue: Callable[[], Issued],
        now: float,
    ) -> bytes:
        """Use a token up for one key; the certificate, DER.

        Args:
            issue: makes the certificate; called for a good token alone.

        A caller that asks again with the same key and name gets the certificate of the first time:
        its reply may have been lost. One transaction, so that of two phones one wins.

        Raises:
            TokenRefusedError, NameTakenError: nothing has changed then.
        """
        digest = token_digest(token)
        table = INVITATIONS
        with self._store.transaction(synced=True) as connection:
            row = connection.execute(select(table).where(table.c.digest == digest)).first()
            if row is not None and (row.key_digest, row.client_id) == (key_digest, client_id):
                return bytes.fromhex(row.certificate)
            if row is None or row.key_digest or row.expires_secs <= now:
                raise TokenRefusedError
            issued = issue()
            used = connection.execute(
                update(table)
                .where(table.c.digest == digest, table.c.key_digest == "")
                .values(
                    key_digest=key_digest,
                    client_id=client_id,
                    used_secs=now,
                    certificate=issued.certificate.hex(),
                )
            )
            if used.rowcount == 0:  # another process was faster
                raise TokenRefusedError
            others = select(CERTIFICATES.c.serial).where(
                CERTIFICATES.c.client_id == client_id,
                CERTIFICATES.c.key_digest != key_digest,
                CERTIFICATES.c.expires_secs > now,
                CERTIFICATES.c.revoked.is_(False),
            )
            if connection.execute(others).first() is not None:
                raise NameTakenError
            insert_rows(connection, [_new_certificate(client_id, key_digest, issued)])
        return issued.certificate

    def add(self, client_id: str, key_digest: str, issued: Issued) -> None:
        """Note a renewed certificate."""
        with self._store.transaction(synced=True) as connection:
            insert_rows(connection, [_new_certificate(client_id, key_digest, issued)])

    def good(self, serial: str, client_id: str) -> bool:
        """Whether a certificate was issued here to this phone and has not been revoked."""
        rows = self._store.find(CertificateRow, serial=serial)
        return bool(rows) and rows[0].client_id == client_id and not rows[0].revoked

    def revoke(self, client_id: str) -> int:
        """Refuse a phone from now on; how many of its certificates that ends."""
        table = CERTIFICATES
        with self._store.transaction(synced=True) as connection:
            return connection.execute(
                update(table)
                .where(table.c.client_id == client_id, table.c.revoked.is_(False))
                .values(revoked=True)
            ).rowcount

    def clients(self) -> list[ClientFacts]:
        """Every phone that was enrolled, by its certificate that lasts longest."""
        latest: dict[str, CertificateRow] = {}
        for row in self._store.find(CertificateRow):
            known = latest.get(row.client_id)
            if known is None or (row.revoked, -row.expires_secs) < (
                known.revoked,
                -known.expires_secs,
            ):
                latest[row.client_id] = row
        return [
            ClientFacts(row.client_id, row.issued_secs, row.expires_secs, row.revoked)
            for _, row in sorted(latest.items())
        ]

    def open_invitations(self, now: float) -> int:
        """Invitations that can still be used."""
        rows = self._store.find(InvitationRow, key_digest="")
        return sum(row.expires_secs > now for row in rows)


def _new_certificate(client_id: str, key_digest: str, issued: Issued) -> CertificateRow:
    return CertificateRow(
        serial=issued.serial,
        client_id=client_id,
        key_digest=key_digest,
        issued_secs=issued.issued_secs,
        expires_secs=issued.expires_secs,
    )

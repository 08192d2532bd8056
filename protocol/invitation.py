"""An invitation: what a phone needs to be enrolled, as one line of text.

`fedvoice1:` and the base64url form, without padding, of a UTF-8 JSON object: `server` and `enrol`
(HOST:PORT as the phone reaches them), `authority` (the certificate of the server's authority,
PEM) and `token` (works once). Unknown fields are ignored.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import asdict, dataclass
from typing import NoReturn

from fedvoice.protocol.addresses import check_can_be_called
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

PREFIX = "fedvoice1:"
LONGEST_INVITATION = 16 * 1024
_PEM_BEGIN = "-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True)
class Invitation:
    """Lets one phone enrol. Secret: anyone who holds it can enrol in the phone's place."""

    server: str
    enrol: str
    authority: str
    token: str

    def encode(self) -> str:
        """The line of text."""
        data = json.dumps(asdict(self), separators=(",", ":")).encode()
        return PREFIX + base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def parse_invitation(text: str, where: str) -> Invitation:
    """Read an invitation; white space around it does not matter.

    Raises:
        FedvoiceError: `bad-credentials`, at `where`.
    """
    line = text.strip()
    if not line.startswith(PREFIX):
        _refuse(where, f"{line[:20]!r}... ({len(line)} characters)")
    if len(line) > LONGEST_INVITATION:
        _refuse(where, f"{len(line)} characters")
    body = line.removeprefix(PREFIX)
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        fields = json.loads(data)
    except (binascii.Error, ValueError) as error:
        _refuse(where, f"a damaged or shortened text ({type(error).__name__})")
    if not isinstance(fields, dict):
        _refuse(where, f"a JSON {type(fields).__name__}")
    values = {name: fields.get(name) for name in ("server", "enrol", "authority", "token")}
    for name, value in values.items():
        if not isinstance(value, str) or not value:
            _refuse(where, f"no text in its field {name!r}")
    found = Invitation(**values)  # type: ignore[arg-type]
    for address in (found.server, found.enrol):
        if not is_address(address):
            _refuse(where, f"the address {address[:80]!r}")
        check_can_be_called(
            address,
            where,
            "Ask for a new one, made with `fedvoice invite --server HOST:PORT`.",
            ErrorCode.BAD_CREDENTIALS,
        )
    if _PEM_BEGIN not in found.authority:
        _refuse(where, "an authority that is not a PEM certificate")
    return found


def is_address(text: str) -> bool:
    """Whether `text` reads HOST:PORT with a port that can be called."""
    host, _, port = text.rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 65536


def _refuse(where: str, got: str) -> NoReturn:
    raise FedvoiceError(
        ErrorCode.BAD_CREDENTIALS,
        where=where,
        got=got,
        wanted=f"an invitation, one line that begins with {PREFIX}",
        next_step="Copy the whole line that `fedvoice invite` wrote, or make a new one with it.",
    )

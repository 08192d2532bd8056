"""An invitation survives being copied, and a damaged one is named."""

from __future__ import annotations

import base64
import json

import pytest

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.invitation import PREFIX, Invitation, parse_invitation

AUTHORITY = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"
INVITATION = Invitation("host:8700", "host:8701", AUTHORITY, "secret")


def encoded(**fields: object) -> str:
    data = json.dumps({**INVITATION.__dict__, **fields}).encode()
    return PREFIX + base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_an_invitation_is_read_back_from_one_line():
    line = INVITATION.encode()
    assert line.startswith("fedvoice1:")
    assert "=" not in line
    assert line.split() == [line]
    assert parse_invitation(f"  {line}\r\n", "here") == INVITATION


def test_a_newer_servers_fields_are_passed_over():
    assert parse_invitation(encoded(colour="blue"), "here") == INVITATION


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fedvoice1:",
        "fedvoice2:abcd",
        INVITATION.encode()[:-20],
        INVITATION.encode() + "!",
        encoded(token=""),
        encoded(token=3),
        encoded(server="host"),
        encoded(enrol="host:99999"),
        encoded(authority="no certificate"),
        PREFIX + "W10",  # []
        PREFIX + "x" * 20_000,
    ],
)
def test_what_is_not_an_invitation_is_named(text):
    with pytest.raises(FedvoiceError, match="fedvoice invite") as caught:
        parse_invitation(text, "the file")
    assert caught.value.code is ErrorCode.BAD_CREDENTIALS
    assert caught.value.where == "the file"

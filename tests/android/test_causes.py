"""A Kotlin phone says why its server cannot be called, at the first try: real servers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedvoice.device_runtime.enrolment import enrol
from fedvoice.device_runtime.retries import CallPolicy
from fedvoice.protocol.invitation import Invitation
from fedvoice.server.security.authority import Authority
from tests.android.jvm import needs_phone
from tests.android.support import run_phone
from tests.device_runtime.test_causes import WILDCARDS, Start, Started, answering, starting

pytestmark = [pytest.mark.slow, needs_phone]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    yield from starting(tmp_path)


def told(*arguments: object) -> str:
    """The log of a phone that ends with an error and has not tried again."""
    code, log = run_phone("run", "--once", *arguments)
    assert code == 2, log
    assert ", again in" not in log
    # An app shows the same words, and has no such option.
    assert "--invitation" not in log
    return log


def enrolled(folder: Path, server: Started) -> Path:
    enrol(folder / "identity", server.invitation(), "anna", CallPolicy())
    return folder


def moved(phone: Path, address: str, folder: Path) -> Path:
    """A copy of a phone that believes its server is there."""
    shutil.copytree(phone, folder)
    (folder / "identity" / "server").write_text(f"{address}\n")
    return folder


def test_an_address_to_listen_on_is_not_called(tmp_path: Path) -> None:
    authority = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"
    for address in WILDCARDS[:2]:
        log = told("--state", tmp_path / "p", "--server", address)
        assert "bad-config" in log
        assert "listen on" in log
        text = Invitation(address, "host:1", authority, "secret").encode()
        log = told("--state", tmp_path / "p", "--invitation", text)
        assert "bad-credentials" in log
        assert "listen on" in log
        assert "fedvoice invite --server" in log


def test_tls_against_none_and_none_against_tls(start: Start, tmp_path: Path) -> None:
    secured, bare = start(), start(insecure=True)
    log = told("--state", tmp_path / "a", "--server", secured.address)
    assert "with TLS, called without" in log
    assert "bad-credentials" in log

    phone = enrolled(tmp_path / "b", secured)
    wrong = secured.invitation(enrol=bare.address).encode()
    for arguments in (
        ("--state", moved(phone, bare.address, tmp_path / "c")),
        ("--state", tmp_path / "d", "--invitation", wrong),
    ):
        log = told(*arguments)
        assert "a server without TLS" in log
        assert "server-unreachable" in log


def test_another_authority_a_refused_certificate_and_another_name(
    start: Start, tmp_path: Path
) -> None:
    first, second = start(), start(bind="0.0.0.0:0")
    port = second.address.rpartition(":")[2]
    phone = enrolled(tmp_path / "a", first)
    other = moved(phone, f"127.0.0.1:{port}", tmp_path / "b")
    assert "another authority" in told("--state", other)

    pem = Authority(second.server.store_dir).pem
    (other / "identity" / "authority.pem").write_bytes(pem)
    log = told("--state", other)
    assert "refuses the phone's certificate" in log
    assert "new invitation" in log

    (other / "identity" / "server").write_text(f"127.0.0.2:{port}\n")
    log = told("--state", other)
    assert "does not name 127.0.0.2" in log
    assert "--name 127.0.0.2" in log


def test_a_login_page_is_told_and_silence_is_tried_again(start: Start, tmp_path: Path) -> None:
    phone = enrolled(tmp_path / "a", start())
    with answering(b"HTTP/1.1 302 Found\r\nLocation: http://login.example\r\n\r\n") as page:
        log = told("--state", moved(phone, page, tmp_path / "b"))
        assert "a web page's answer" in log
        assert "server-unreachable" in log
    with answering(b"") as mute:
        folder = moved(phone, mute, tmp_path / "c")
        code, log = run_phone("run", "--once", "--state", folder, "--backoff-secs", "0.01")
    assert code == 2
    assert ", again in" in log
    assert "5 times" in log


def test_a_phone_that_may_call_calls(start: Start, tmp_path: Path) -> None:
    phone = enrolled(tmp_path / "a", start())
    code, log = run_phone("run", "--once", "--state", phone)
    assert code == 0, log
    assert "no-work" in log

"""A Kotlin phone and a server with TLS: invitation, certificate, renewal, refusal."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from fedvoice.device_runtime import identity
from fedvoice.protocol.invitation import Invitation
from fedvoice.server.app import AggregationServer
from fedvoice.server.config import ServerConfig
from fedvoice.server.security import authority
from fedvoice.server.security.authority import CLIENT_DAYS, Authority
from fedvoice.server.security.credentials import Credentials
from fedvoice.server.store.database import open_existing
from tests.android.jvm import needs_phone
from tests.android.support import run_phone
from tests.server.support import make_package

pytestmark = [pytest.mark.slow, needs_phone]


class Secured:
    """A server with TLS that has no work yet, and phones that call it once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        config = ServerConfig.model_validate(
            {"bind": "127.0.0.1:0", "cohort_size": 5, "retry": {"least_secs": 1, "most_secs": 2}}
        )
        self.package = make_package(directory / "task")
        self.server = AggregationServer(config, self.package, directory / "store")
        self.address = self.server.start()
        self.authority = Authority(self.server.store_dir)
        self.database = open_existing(self.server.store_dir)
        self.credentials = Credentials(self.database)

    def invite(self, **changes: str) -> str:
        fields = {
            "server": self.address,
            "enrol": self.server.enrol_address,
            "authority": self.authority.pem.decode(),
            "token": self.credentials.invite(60, time.time()),
        }
        return Invitation(**{**fields, **changes}).encode()

    def call(self, *arguments: object) -> tuple[int, str]:
        return run_phone("run", "--once", "--state", self.phone, *arguments)

    @property
    def phone(self) -> Path:
        return self.directory / "phone"

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.folder / "certificate.pem").read_bytes())

    @property
    def folder(self) -> Path:
        return self.phone / "identity"

    def close(self) -> None:
        self.database.close()
        self.server.stop(grace_secs=0.2)


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    secured = Secured(tmp_path)
    yield secured
    secured.close()


@pytest.fixture
def made_days_ago(monkeypatch: pytest.MonkeyPatch):
    """Certificates that the server makes from now on are so old already."""

    def age(days: float) -> None:
        then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
        monkeypatch.setattr(authority, "_now", lambda: then)

    return age


def test_an_invitation_lets_a_phone_in_and_may_be_given_again(secured: Secured) -> None:
    invitation = secured.directory / "invitation.txt"
    invitation.write_text(secured.invite() + "\n")
    code, log = secured.call("--invitation", invitation)
    assert code == 0, log
    assert "enrolled as" in log
    assert "no-work" in log
    name = (secured.phone / "client_id").read_text()
    facts = [c.client_id for c in secured.credentials.clients()]
    assert facts == [name]
    for arguments in ((), ("--invitation", invitation)):
        code, log = secured.call(*arguments)
        assert code == 0, log
        assert "enrolled as" not in log

    # The Python phone can go on with it, and nobody else may read the key.
    own = identity.load(secured.folder)
    assert own is not None
    assert (own.client_id, own.server) == (name, secured.address)
    assert secured.folder.stat().st_mode & 0o077 == 0
    code, log = run_phone(
        *("run", "--once", "--state", secured.directory / "b", "--invitation", invitation)
    )
    assert code == 2
    assert "bad-credentials" in log
    assert "new invitation" in log
    assert "again in" not in log


def test_a_phone_that_python_enrolled_goes_on(secured: Secured) -> None:
    from fedvoice.device_runtime.enrolment import enrol, read_invitation
    from fedvoice.device_runtime.retries import CallPolicy

    enrol(secured.folder, read_invitation(secured.invite()), "anna", CallPolicy())
    code, log = secured.call()
    assert code == 0, log
    assert "anna: 0 examples" in log
    code, log = secured.call("--client-id", "berta")
    assert code == 2
    assert "anna, the name that this phone is enrolled under" in log


def test_a_certificate_that_runs_out_is_renewed(secured: Secured, made_days_ago) -> None:
    made_days_ago(CLIENT_DAYS * 0.8)
    code, log = secured.call("--invitation", secured.invite())
    assert code == 0, log
    before = secured.certificate()
    made_days_ago(0)
    code, log = secured.call()
    assert code == 0, log
    assert "certificate renewed" in log
    after = secured.certificate()
    assert after.not_valid_after_utc > before.not_valid_after_utc
    assert after.public_key() == before.public_key()
    code, log = secured.call()
    assert code == 0, log
    assert "renewed" not in log


def test_an_expired_certificate_ends_without_a_loop(secured: Secured, made_days_ago) -> None:
    made_days_ago(CLIENT_DAYS + 1)
    code, log = secured.call("--invitation", secured.invite())
    for _ in range(2):
        assert code == 2
        assert "bad-credentials" in log
        assert "new invitation" in log
        assert "again in" not in log
        code, log = secured.call()
    made_days_ago(0)
    code, log = secured.call("--invitation", secured.invite())
    assert code == 0, log
    assert "enrolled as" in log


def test_a_revoked_phone_is_told(secured: Secured) -> None:
    assert secured.call("--invitation", secured.invite(), "--client-id", "anna")[0] == 0
    assert secured.credentials.revoke("anna") == 1
    code, log = secured.call()
    assert code == 2
    assert "bad-credentials" in log
    assert "revoked" in log
    assert "again in" not in log


def test_another_server_than_the_invitations_is_not_believed(
    secured: Secured, tmp_path: Path
) -> None:
    other = Secured(tmp_path / "other")
    try:
        wrong = secured.invite(authority=other.authority.pem.decode())
        code, log = secured.call("--invitation", wrong)
    finally:
        other.close()
    assert code == 2
    assert "bad-credentials" in log
    assert "again in" not in log
    assert not (secured.folder / "certificate.pem").exists()


def test_what_is_no_invitation_is_named(tmp_path: Path) -> None:
    for given, wanted in (
        ("fedvoice1:AAAA", "fedvoice invite"),
        (str(tmp_path / "nowhere"), "not-found"),
        ("fedvoice1:!", "bad-credentials"),
    ):
        code, log = run_phone("run", "--state", tmp_path / "p", "--invitation", given)
        assert code == 2
        assert wanted in log
    code, log = run_phone("run", "--state", tmp_path / "p")
    assert code == 2
    assert "not enrolled" in log

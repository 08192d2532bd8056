"""By hand: a server with TLS, an invitation, a phone. Real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.server.support import make_package

ROOT = Path(__file__).resolve().parent.parent
RETRY = "[retry]\nleast_secs = 0.01\nmost_secs = 0.05\n"


def fedvoice(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fedvoice", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def store(tmp_path):
    """A server at work on this store."""
    make_package(tmp_path / "task")
    (tmp_path / "server.toml").write_text(RETRY)
    command = [sys.executable, "-m", "fedvoice", "serve", "--task", tmp_path / "task"]
    command += ["--config", tmp_path / "server.toml", "--store", tmp_path / "store"]
    command += ["--bind", "127.0.0.1:0", "--ready-file", tmp_path / "ready"]
    with subprocess.Popen([str(c) for c in command], cwd=ROOT, stdout=subprocess.PIPE) as server:
        try:
            while not (tmp_path / "ready").exists():
                assert server.poll() is None, "the server did not start"
                time.sleep(0.02)
            yield tmp_path / "store"
        finally:
            server.kill()


def test_serve_invite_and_a_phone_by_hand(tmp_path, store):
    addresses = (tmp_path / "ready").read_text().split()
    assert len(addresses) == 2
    invitation = tmp_path / "invitation.txt"
    made = fedvoice("invite", "--store", store, "--out", invitation)
    assert made.returncode == 0, made.stderr
    assert all(address in made.stdout for address in addresses)
    assert invitation.stat().st_mode & 0o777 == 0o600

    phone = ("device", "--once", "--state", tmp_path / "phone")
    first = fedvoice(*phone, "--invitation", invitation)
    assert first.returncode == 0, first.stderr
    assert "enrolled as" in first.stderr
    assert "no-work" in first.stderr
    for command in (phone, (*phone, "--invitation", invitation)):
        again = fedvoice(*command)
        assert again.returncode == 0, again.stderr
        assert "enrolled as" not in again.stderr
    for path in (tmp_path / "phone" / "identity").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600

    # The invitation is used up.
    second = fedvoice("device", "--once", "--state", tmp_path / "b", "--invitation", invitation)
    assert second.returncode == 2
    assert "bad-credentials" in second.stderr
    assert "new invitation" in second.stderr

    name = (tmp_path / "phone" / "client_id").read_text()
    assert name in fedvoice("invite", "--store", store, "--list").stdout
    assert fedvoice("invite", "--store", store, "--revoke", name).returncode == 0
    revoked = fedvoice(*phone)
    assert revoked.returncode == 2
    assert "bad-credentials" in revoked.stderr
    assert "again in" not in revoked.stderr
    assert "revoked" in fedvoice("invite", "--store", store, "--list").stdout


def test_what_invite_cannot_do_is_named(tmp_path, store):
    for options, wanted in (
        (("--server", "speech.example:8700"), "--name speech.example"),
        (("--server", "nonsense"), "HOST:PORT"),
        (("--revoke", "nobody"), "--list"),
    ):
        done = fedvoice("invite", "--store", store, *options)
        assert done.returncode == 2
        assert wanted in done.stderr
    nowhere = fedvoice("invite", "--store", tmp_path / "nowhere")
    assert nowhere.returncode == 2
    assert "not-found" in nowhere.stderr


def test_a_phone_without_invitation_or_server_is_told(tmp_path):
    done = fedvoice("device", "--once", "--state", tmp_path / "phone")
    assert done.returncode == 2
    assert "bad-credentials" in done.stderr
    assert "fedvoice invite" in done.stderr


def test_no_file_alone_exposes_an_unprotected_server(tmp_path):
    make_package(tmp_path / "task")
    config = tmp_path / "server.toml"
    config.write_text('insecure = true\nbind = "0.0.0.0:0"\n')
    done = fedvoice("serve", "--task", tmp_path / "task", "--config", config)
    assert done.returncode == 2
    assert "--insecure" in done.stderr

"""Stores in places whose names mean something elsewhere, and of other users."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fedvoice.protocol.databases import LONGEST_PATH_BYTES
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.server.store import sqlite
from fedvoice.server.store.database import DATABASE_FILE, open_read_only, open_store

NAMES = ("run#3", "my%20runs", "why?", "a b", "[x]", "{n}", "größe", "x&mode=memory", "-", "\udcff")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_store_works_in_any_folder(tmp_path: Path, name: str) -> None:
    """Written, opened again, read; nothing is made beside it."""
    for value in (1, 2):
        store = open_store(tmp_path / name)
        store.set_meta({"value": value})
        store.close()
        reading = open_read_only(tmp_path / name)
        assert reading.meta() == {"value": value}
        reading.close()
    assert os.listdir(tmp_path) == [name]


def long_folder(base: Path, length_bytes: int) -> Path:
    """A folder whose path has so many bytes."""
    folder = base
    while (left := length_bytes - len(os.fsencode(folder))) > 1:
        folder /= "n" * min(200, left - 1) if left != 202 else "n" * 100
    return folder


def test_the_longest_path_works_and_a_longer_one_is_refused_with_the_limit(tmp_path: Path) -> None:
    longest = long_folder(tmp_path.resolve(), LONGEST_PATH_BYTES - len(f"/{DATABASE_FILE}"))
    open_store(longest).close()
    linked = tmp_path / "short"
    linked.symlink_to(longest)
    for folder in (longest / "n", linked / "n"):
        with pytest.raises(FedvoiceError) as caught:
            open_store(folder)
        assert caught.value.code is ErrorCode.BAD_CONFIG
        assert f"{LONGEST_PATH_BYTES + 2} bytes" in caught.value.got
        assert str(LONGEST_PATH_BYTES) in caught.value.wanted
    assert not (longest / "n").exists()


needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="needs root and setpriv, to be a user who may read everything and write nothing",
)
_READER = (
    "setpriv --reuid 12345 --regid 12345 --clear-groups --inh-caps=-all,+dac_read_search "
    "--ambient-caps=-all,+dac_read_search"
)


def invited_by_another_user(store: Path, *more: str) -> tuple[int, str]:
    """`fedvoice invite` of a user who may read the store and not write it."""
    command = [sys.executable, "-m", "fedvoice", "invite", "--store", str(store), *more]
    done = subprocess.run([*_READER.split(), *command], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


@needs_root
@pytest.mark.parametrize("state", ["stopped", "running", "killed"])
def test_who_may_only_read_a_store_is_shown_it_and_told_why_no_invitation(
    state: str,
) -> None:
    with tempfile.TemporaryDirectory() as parent:  # pytest's are private
        os.chmod(parent, 0o755)
        look_as_another_user(Path(parent), state)


def look_as_another_user(parent: Path, state: str) -> None:
    folder = parent / "store"
    store = open_store(folder)
    store.set_meta({"addresses": {"server": "127.0.0.1:1", "enrol": "127.0.0.1:2"}})
    if state == "stopped":
        store.close()
    elif state == "killed":
        # Its files as they lay there, without those that only a running process has.
        copied = parent / "copied"
        copied.mkdir()
        for name in (DATABASE_FILE, f"{DATABASE_FILE}-wal"):
            (copied / name).write_bytes((folder / name).read_bytes())
        folder = copied
    status, said = invited_by_another_user(folder, "--list")
    assert (status, said) == (0, "0 invitations can still be used\n")
    status, said = invited_by_another_user(folder)
    assert status == 2
    assert said.startswith(f"fedvoice: not-writable at {folder}\n")
    assert len(said.splitlines()) == 4
    if state == "running":
        store.close()


def test_a_database_that_another_program_holds_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LOCKED_SECS", 0.2)
    store = open_store(tmp_path)
    holder = sqlite3.connect(tmp_path / DATABASE_FILE, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(FedvoiceError) as caught:
        store.set_meta({"value": 1})
    assert caught.value.code is ErrorCode.NOT_WRITABLE
    assert "held by another program for 0.2 s" in caught.value.got
    holder.execute("ROLLBACK")
    store.set_meta({"value": 2})
    assert store.meta() == {"value": 2}
    store.close()
    holder.close()

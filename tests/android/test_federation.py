"""Python and Android phones in one federation, from the command that people use."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedvoice.android_harness.emulation import jvm
from fedvoice.protocol.utterances import read_manifest
from fedvoice.reporting.results import read_results
from fedvoice.server.store.ledger import round_rows
from tests.android.jvm import needs_phone
from tests.simulation.conftest import CONFIG

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 60


def config_file(directory: Path) -> Path:
    path = directory / "tiny.toml"
    path.write_text(CONFIG.replace("{rounds}", str(ROUNDS)))
    return path


def closed_rounds(out: Path) -> int:
    if not (out / "server" / "server.sqlite").is_file():
        return 0
    return sum(1 for row in round_rows(out / "server") if row.round)


def jvm_of(out: Path) -> int:
    """The process of the Android phones of this run."""
    job = str(out / "android-0" / "job.json").encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if job in path.read_bytes().split(b"\0"):
                return int(path.parent.name)
        except OSError:
            continue
    raise AssertionError("no JVM of this run")


@pytest.mark.slow
@needs_phone
def test_both_kinds_train_one_model_and_a_killed_jvm_comes_back(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "fedvoice", "simulate", "--phones", "python=4,android=4"]
    command += ["--config", str(config_file(tmp_path)), "--out", str(out)]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 240
        while closed_rounds(out) < 2:
            assert run.poll() is None, run.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(jvm_of(out), signal.SIGKILL)
        _, errors = run.communicate(timeout=400)
    finally:
        run.kill()
    assert run.returncode == 0, errors.decode()

    results = read_results(out)
    assert [r.round for r in results.rounds] == list(range(1, ROUNDS + 1))
    assert all(r.clients == 3 for r in results.rounds)
    assert [(k.kind, len(k.clients)) for k in results.kinds] == [("python", 4), ("android", 4)]
    assert all(k.updates > 0 and k.bytes_up > 0 for k in results.kinds)

    # The kinds' books are the rounds' books, dealt out.
    for name in ("examples", "steps"):
        total = sum(getattr(r, name) for r in results.rounds)
        assert sum(getattr(k, name) for k in results.kinds) == total
    assert sum(k.updates for k in results.kinds) == 3 * ROUNDS
    measured = sum(r.bytes_down + r.bytes_up for r in results.rounds)
    beside = sum(results.final[f"{n}_bytes"] for n in ("evaluation", "install", "idle"))
    assert sum(k.bytes_down + k.bytes_up for k in results.kinds) == measured + beside
    page = (out / "report.html").read_text()
    assert "Kinds of phones" in page
    assert all(client in page for kind in results.kinds for client in kind.clients)

    # Law 10: what the phones logged has none of the words, whatever went wrong.
    log = (out / "android-0.log").read_text()
    words = {u.text for u in read_manifest(out / "corpus" / "manifest.jsonl")} - {"no"}
    assert not any(f" {word} " in log for word in words)
    assert json.loads((out / "android-0" / "job.json").read_text())["phones"]


def test_without_the_phone_the_way_out_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedvoice.protocol.errors import ErrorCode, FedvoiceError
    from fedvoice.simulation.fleet.config import load_config
    from fedvoice.simulation.fleet.prepare import prepare

    monkeypatch.setattr(jvm, "_BUILD", tmp_path)
    config = load_config(config_file(tmp_path), {"fleet.phones": {"android": 1}})
    with pytest.raises(FedvoiceError, match=r"make android.*fedvoice doctor") as caught:
        prepare(config, tmp_path / "run", lambda what: None)
    assert caught.value.code is ErrorCode.MISSING_EXTRA
    assert not (tmp_path / "run").exists()

"""The main job as a user meets it: one command, real processes, a real server on a socket."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedvoice.reporting.results import read_results
from fedvoice.reporting.words import read_transcripts
from fedvoice.server.store.ledger import round_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_one_command_trains_evaluates_and_leaves_everything_behind(tmp_path, tiny_config, fedvoice):
    out = tmp_path / "run"
    done = fedvoice("simulate", "--config", tiny_config(4), "--out", out, "--log", "csv")
    assert done.returncode == 0, done.stderr
    assert "CFMQ" in done.stdout
    results = read_results(out)
    assert [r.round for r in results.rounds] == [1, 2, 3, 4]
    assert results.final["complete"]
    assert all(r.clients == 3 and r.examples == 18 and r.steps == 6 for r in results.rounds)
    assert [r.wer is not None for r in results.rounds] == [False, True, False, True]
    assert results.final["heldout_wer"] == results.rounds[-1].heldout_wer is not None

    # Law 7: the books add up, and the measured wire is what the weights weigh.
    wire = 0
    for row in results.rounds:
        wire += row.bytes_down + row.bytes_up
        assert row.cfmq_communication_bytes == wire
    weights_bytes = (
        4 * json.loads((out / "task" / "task.json").read_text())["parameters"]["total_size"]
    )
    assert results.rounds[-1].bytes_up > 3 * weights_bytes
    assert results.rounds[-1].cfmq_compute_bytes == 4 * 6 * results.rounds[-1].memory_bytes

    for name in ("report.html", "weights.safetensors", "task/program.pte", "server"):
        assert (out / name).exists()

    # Every round and evaluation is in the log, and what was heard in the report.
    with (out / "csv" / "evaluations.csv").open(newline="") as file:
        logged = [(row["round"], row["rate"]) for row in csv.DictReader(file)]
    rates = ("wer", "heldout_wer", "cer", "heldout_cer")
    assert logged == [(n, rate) for n in ("2", "4") for rate in rates]
    heard = read_transcripts(out)
    assert {one.set for one in heard} == {"wer", "heldout_wer"}
    assert "What was recognised" in (out / "report.html").read_text()
    for name in ("wer", "heldout_wer"):
        own = [one for one in heard if one.set == name]
        rate = 100 * sum(one.errors for one in own) / sum(one.words for one in own)
        assert rate == pytest.approx(results.final[name])

    wers = {}
    for engine in ("executorch", "torch"):
        evaluated = fedvoice(
            *("evaluate", "--task", out / "task", "--weights", out / "weights.safetensors"),
            *("--manifest", out / "corpus" / "manifest.jsonl", "--split", "test"),
            *("--engine", engine, "--json"),
        )
        assert evaluated.returncode == 0, evaluated.stderr
        fields = json.loads(evaluated.stdout.splitlines()[-1])
        assert {"wer", "utterances", "words", "engine"} <= set(fields)
        assert fields["cer"] >= 0
        assert fields["chars"] >= fields["words"]
        assert (fields["utterances"], fields["engine"]) == (16, engine)
        wers[engine] = fields["wer"]
    assert wers["executorch"] == wers["torch"]

    again = fedvoice("simulate", "--config", tiny_config(4), "--out", out)
    assert again.returncode == 0, again.stderr
    assert read_results(out).rounds == results.rounds
    other = fedvoice("simulate", "--config", tiny_config(5), "--out", out)
    assert other.returncode == 2
    assert "exists" in other.stderr
    assert "--overwrite" in other.stderr


def test_killed_phones_come_back_and_an_interrupted_run_goes_on(tmp_path, tiny_config, fedvoice):
    out, config = tmp_path / "run", tiny_config(150)
    command = [sys.executable, "-m", "fedvoice", "simulate", "--config", config, "--out", out]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_rounds(out, 2)
        killed = kill_one_worker(run.pid)
        wait_for_rounds(out, closed_rounds(out) + 10)
        assert not Path(f"/proc/{killed}").exists()
        run.send_signal(signal.SIGINT)
        time.sleep(0.3)
        run.send_signal(signal.SIGINT)  # impatient people press it twice
        _, errors = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130, errors
    assert "same command" in errors
    assert "Traceback" not in errors
    before = read_results(out)
    assert 12 <= len(before.rounds) < 150

    done = fedvoice("simulate", "--config", config, "--out", out)
    assert done.returncode == 0, done.stderr
    after = read_results(out)
    assert [r.round for r in after.rounds] == list(range(1, 151))
    # Rounds that were committed before stay what they were: nothing is counted twice.
    shared = len(before.rounds) - 1
    assert [(r.loss, r.steps) for r in after.rounds[:shared]] == [
        (r.loss, r.steps) for r in before.rounds[:shared]
    ]
    assert all(r.clients == 3 for r in after.rounds)
    assert after.final["wer"] < 100


def test_phones_that_never_charge_keep_no_round_waiting(tmp_path, tiny_config, fedvoice):
    config = tiny_config(3)
    script = "share = 0.25\nsteps = [{from_secs = 0, charging = false}]\n"
    config.write_text(f"{config.read_text()}\n[[fleet.scripts]]\n{script}")
    done = fedvoice("simulate", "--config", config, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert [r.clients for r in read_results(tmp_path / "run").rounds] == [3, 3, 3]


def closed_rounds(out):
    store = out / "server"
    if not (store / "server.sqlite").is_file():
        return 0
    return sum(1 for row in round_rows(store) if row.round)


def wait_for_rounds(out, count, timeout_secs=600):
    deadline = time.monotonic() + timeout_secs
    while closed_rounds(out) < count:
        assert time.monotonic() < deadline, f"{closed_rounds(out)} rounds"
        time.sleep(0.05)


def kill_one_worker(parent):
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"spawn_main" in command:
            children.append(int(stat.parent.name))
    # The server was started first, the phones after it.
    victim = max(children)
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{victim}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return victim

"""`fedvoice experiment run` and `fedvoice report` as people meet them: real processes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.laboratory.conftest import Run, command

pytestmark = [pytest.mark.slow]

TWIN = """
[[arms]]
name = "twin"
set = { "plan.data_limit" = 0 }
"""


def trials_of(folder: Path) -> dict[str, float]:
    """When each trial was finished, by its folder's name."""
    found = (folder / "runs" / "trials").glob("*/trial.json")
    return {path.parent.name: path.stat().st_mtime for path in found}


def test_the_worker_pool_has_its_old_name_for_one_release(experiment: Path, fedvoice: Run) -> None:
    plan = fedvoice("experiment", "run", experiment, "--dry-run", "--backend", "local")
    assert plan.returncode == 0, plan.stderr
    assert "--worker-pool" in plan.stderr
    assert (
        fedvoice("experiment", "run", experiment, "--dry-run", "--worker-pool", "ray").stderr == ""
    )


def test_an_experiment_leaves_tables_and_a_report_and_runs_no_trial_twice(
    experiment: Path, tmp_path: Path, fedvoice: Run
) -> None:
    plan = fedvoice("experiment", "run", experiment, "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert "4 of 4 to do" in plan.stdout
    assert not (tmp_path / "runs").exists()

    assert "examples" in plan.stdout  # of the corpus, partitioned

    done = fedvoice("experiment", "run", experiment, "--log", "csv")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    # What is used of the corpus is said once, though four trials share it.
    assert len([line for line in done.stdout.splitlines() if line.startswith("training: ")]) == 1
    *told, last = done.stdout.splitlines()
    assert last == "report: runs/tiny/report.html"
    assert told[0].startswith("tiny: 4 trials")
    assert sum(line.startswith("[") for line in told) == 4
    assert any(line.startswith("| all data | 2 | ") and line.count("|") > 9 for line in told)
    out = tmp_path / "runs" / "tiny"
    page = (out / "report.html").read_text()
    assert "A tiny experiment" in page
    assert page.count("<svg") == 6
    assert "Training loss" in page
    assert "utterances used" not in page  # a table has the counts
    assert "<td>training</td><td>used</td>" in page
    assert "What was recognised" in page
    for name in trials_of(tmp_path):
        folder = tmp_path / "runs" / "trials" / name
        logged = list(csv.DictReader((folder / "csv" / "rounds.csv").open(newline="")))
        rounds = json.loads((folder / "results.json").read_text())["rounds"]
        assert [float(row["loss"]) for row in logged] == [row["loss"] for row in rounds]
    assert len(list((out / "figures").glob("*.svg"))) == 6
    with (out / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["seed"], row["rounds"]) for row in rows] == [
        ("all", "0", "4"),
        ("all", "1", "4"),
        ("limited", "0", "4"),
        ("limited", "1", "4"),
    ]
    with (out / "summary.csv").open() as file:
        assert [row["arm"] for row in csv.DictReader(file)] == ["all", "limited"]
    first = trials_of(tmp_path)
    assert len(first) == 4

    # Another experiment with a further arm, that is one of the others under another name.
    experiment.write_text(experiment.read_text().replace('"tiny"', '"more"') + TWIN)
    more = fedvoice("experiment", "run", experiment)
    assert more.returncode == 0, more.stderr
    assert trials_of(tmp_path) == first
    with (tmp_path / "runs" / "more" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert rows[0]["digest"] == rows[4]["digest"]
    plan = fedvoice("experiment", "run", experiment, "--dry-run", "--seeds", "0,2")
    assert "2 of 4 to do: about 0:00:" in plan.stdout

    # Reports again: of an experiment, of one trial, of both experiments together.
    (out / "report.html").unlink()
    trial = tmp_path / "runs" / "trials" / next(iter(first))
    again = fedvoice("report", out, trial)
    assert again.returncode == 0, again.stderr
    assert again.stdout.split() == [str(out / "report.html"), str(trial / "report.html")]
    assert (out / "report.html").read_text() == page
    both = fedvoice("report", "runs/tiny", "runs/more", "--out", "runs/both")
    assert both.returncode == 0, both.stderr
    with (tmp_path / "runs" / "both" / "summary.csv").open() as file:
        assert [row["arm"] for row in csv.DictReader(file)] == [
            "tiny/all",
            "tiny/limited",
            "more/all",
            "more/limited",
            "more/twin",
        ]


def test_a_trial_that_fails_does_not_stop_the_others(
    experiment: Path, tmp_path: Path, fedvoice: Run
) -> None:
    line = {"audio_filepath": "gone.wav", "text": "one", "duration": 1.0, "speaker": "s"}
    (tmp_path / "broken.jsonl").write_text(json.dumps(line))
    broken = '\n[[arms]]\nname = "broken"\nset = { "data.manifest" = "broken.jsonl" }\n'
    experiment.write_text(experiment.read_text() + broken)
    done = fedvoice("experiment", "run", experiment, "--seeds", "0", "--set", "server.rounds=1")
    assert done.returncode == 1
    assert "failed: broken seed 0: " in done.stderr
    assert "missing-audio" in done.stderr
    assert "gone.wav" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(trials_of(tmp_path)) == 2
    page = (tmp_path / "runs" / "tiny" / "report.html").read_text()
    assert "Failed:" in page
    assert "all data" in page


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--arms", "idd"], "idd"),
        (["--set", "data.manifest=gone.jsonl"], "gone.jsonl"),
        (["--out", "tiny.toml/out"], "tiny.toml"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(
    experiment: Path, tmp_path: Path, fedvoice: Run, arguments: list[str], named: str
) -> None:
    done = fedvoice("experiment", "run", experiment, "--arms", "all", *arguments)
    assert done.returncode in (1, 2)
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert not trials_of(tmp_path)


LONG_ROUNDS = 400
LONG = ("--arms", "all", "--seeds", "0", "--set", f"server.rounds={LONG_ROUNDS}")


def start(experiment: Path, folder: Path, *more: object) -> subprocess.Popen[str]:
    """The experiment in a process group of its own."""
    return subprocess.Popen(
        command("experiment", "run", experiment, *LONG, *more),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_training(process: subprocess.Popen[str], folder: Path) -> None:
    """Until a trial has a folder: its worker has begun."""
    while not list((folder / "runs" / "trials").glob("*[0-9a-f]")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def weights(folder: Path) -> bytes:
    (path,) = (folder / "runs" / "trials").glob("*/weights.safetensors")
    return path.read_bytes()


def rounds_kept(folder: Path) -> int:
    from fedvoice.simulation.checkpoint import load_state

    (trial,) = (p.parent for p in (folder / "runs" / "trials").glob("*/state.npz"))
    state = load_state(trial)
    assert state is not None
    return state.number


def find_worker(parent: int) -> int:
    """The process that trains, as long as there is just one; 0 before it was started."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            spawned = b"spawn_main" in (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and spawned:
            return int(path.parent.name)
    return 0


def wait_for_worker(parent: int) -> int:
    """Until the worker has loaded torch, and a second more: it is at its corpus or its rounds."""
    while True:
        worker = find_worker(parent)
        if worker and b"libtorch_cpu" in Path(f"/proc/{worker}/maps").read_bytes():
            time.sleep(1.0)
            return worker
        time.sleep(0.05)


def test_two_commands_that_want_the_same_trial_run_it_once(
    experiment: Path, tmp_path: Path
) -> None:
    short = ("--set", "server.rounds=40")
    runs = [start(experiment, tmp_path, *short, "--out", f"out{number}") for number in (1, 2)]
    for run in runs:
        output, errors = run.communicate(timeout=240)
        assert run.returncode == 0, errors
        assert errors == ""
        assert "[1/1] all seed 0" in output
    # With the seconds that it took: those of one run.
    first, second = ((tmp_path / f"out{number}" / "trials.csv").read_text() for number in (1, 2))
    assert first == second


def test_an_experiment_that_is_stopped_or_killed_goes_on_to_the_same_bits(
    experiment: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    undisturbed = start(experiment, whole)

    # Ctrl-C: the checkpoint is written, and the status says so.
    kept, wait_secs = 0, 1.0
    while not kept:  # a slow machine may not have come to a round yet
        run = start(experiment, parts)
        wait_for_training(run, parts)
        time.sleep(wait_secs)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
        _, errors = run.communicate(timeout=120)
        assert run.returncode == 130, errors
        assert "same command" in errors
        assert "Traceback" not in errors
        kept, wait_secs = rounds_kept(parts), 2 * wait_secs
    assert kept < LONG_ROUNDS

    # kill -9 of everything in mid-trial: what was kept stays.
    run = start(experiment, parts)
    wait_for_worker(run.pid)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate(timeout=60)
    assert run.returncode == -signal.SIGKILL
    assert rounds_kept(parts) == kept

    # kill -9 of the worker: the same command gets another.
    run = start(experiment, parts)
    os.kill(wait_for_worker(run.pid), signal.SIGKILL)
    output, errors = run.communicate(timeout=240)
    assert run.returncode == 0, errors
    assert "[1/1] all seed 0" in output

    _, errors = undisturbed.communicate(timeout=240)
    assert undisturbed.returncode == 0, errors
    assert weights(parts) == weights(whole)


def test_a_dry_run_says_that_a_corpus_is_not_there(experiment: Path, fedvoice: Run) -> None:
    away = fedvoice("experiment", "run", experiment, "--dry-run", "--set", "data.manifest=no.jsonl")
    assert away.returncode == 2
    assert "cannot run: no.jsonl" in away.stderr
    assert "not-found" in away.stderr

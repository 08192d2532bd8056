"""What a server's run leaves in an experiment tracker, and in its report."""

from __future__ import annotations

import csv
import signal
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from fedvoice.cli import app
from fedvoice.reporting.results import read_results
from tests.server.test_restart import Process

SIZE = 64
CONFIG = "cohort_size = 1\nrounds = 3\nevaluate_every = 1\n[retry]\nleast_secs = 0.01\n"


def rows_of(store: Path, name: str) -> list[dict[str, str]]:
    with (store / "csv" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_server_that_was_killed_has_every_round_and_evaluation_once_in_its_log(lab):
    task, store = lab.package(size=SIZE).directory, lab.directory / "logged"
    first = Process(lab.directory, task, "logged", CONFIG, "--log", "csv")
    phone = lab.phone(first.address, "a")
    work = phone.wait_for_work()
    assert work is not None
    phone.report_delta(work, np.zeros(SIZE, np.float32))
    first.end(signal.SIGKILL)
    second = Process(lab.directory, task, "logged", CONFIG, "--log", "csv")
    phone = lab.phone(second.address, "a", test_examples=1)
    phone.work_until_finished(lambda work: np.zeros(SIZE, np.float32))
    assert second.process.stdout is not None
    for line in second.process.stdout:
        if line.startswith("report:"):
            break
    assert line.strip() == f"report: fedvoice report {store}"
    second.end(signal.SIGTERM)

    assert [row["round"] for row in rows_of(store, "rounds")] == ["1", "2", "3"]
    heard = [(row["round"], row["rate"]) for row in rows_of(store, "evaluations")]
    assert heard[-1] == ("3", "wer")
    assert len(set(heard)) == len(heard)
    settings = {row["name"]: row["value"] for row in rows_of(store, "settings")}
    assert settings["cohort_size"] == "1"
    assert settings["artefact"] == str(store / "weights.safetensors")
    assert float(settings["final/wer"]) == read_results(store).final["wer"] == 25.0


def test_a_server_s_store_has_a_report(lab, tmp_path):
    """Also while it runs; a folder that is no run is refused."""
    package = lab.package(size=SIZE)
    server, address = lab.serve(package, rounds=2, cohort_size=1, evaluate_every=1)
    phone = lab.phone(address, "a", test_examples=1)
    phone.work_until_finished(lambda work: np.zeros(SIZE, np.float32))
    done = CliRunner().invoke(app, ["report", str(server.store_dir)])
    assert done.exit_code == 0, done.output
    page = (server.store_dir / "report.html").read_text()
    assert "25.0 %" in page
    assert "phones that call a server" in page
    assert "2 rounds" in page
    missing = CliRunner().invoke(app, ["report", str(tmp_path / "none")])
    assert missing.exit_code != 0

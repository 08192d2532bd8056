"""What is left of an experiment whose command was killed: nothing."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.laboratory.feature_corpus import base_toml, write_corpus
from tests.waiting import wait_until


def children(pid):
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.add(int(stat.parent.name))
    return found


@pytest.mark.slow
def test_workers_of_a_killed_experiment_end_by_themselves(tmp_path):
    config = tmp_path / "long.toml"
    manifest = write_corpus(tmp_path / "corpus")
    config.write_text('name = "long"\nseeds = [0]\n' + base_toml(manifest, rounds=100_000))
    command = [sys.executable, "-m", "fedvoice", "experiment", "run", str(config), "--jobs", "2"]
    command += ["--out", str(tmp_path / "out"), "--trials-dir", str(tmp_path / "trials")]
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: list((tmp_path / "trials").glob("*/*")), "a trial that has begun")
    workers = children(parent.pid)
    assert workers
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "workers that end"
    )

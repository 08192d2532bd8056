"""`fedvoice` answers for what the operating system refuses, whatever the subcommand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXPORT = ("export", "--config", "experiments/export-words.toml", "--out")
SIMULATE = ("simulate", "--config", "experiments/demo.toml", "--out")
DEVICE = ("device", "--server", "127.0.0.1:1", "--once", "--state")
SYNTHETIC = ("data", "synthetic", "--voices", "1", "--out")


@pytest.mark.parametrize("command", [EXPORT, SIMULATE, DEVICE, SYNTHETIC], ids=lambda c: c[0])
def test_a_folder_that_cannot_be_written_is_named_at_once(tmp_path, command):
    taken = tmp_path / "file"
    taken.touch()
    done = subprocess.run(
        [sys.executable, "-m", "fedvoice", *command, str(taken)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "not-writable" in done.stderr
    assert str(taken) in done.stderr
    assert "Traceback" not in done.stderr
    assert "check" not in done.stdout  # nothing was exported first

"""`fedvoice` answers for what the operating system refuses, whatever the subcommand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedvoice.cli import SUBCOMMANDS, app, load_subcommand

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


def test_help_names_every_subcommand_in_the_words_of_its_own_help():
    listed = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    listed = " ".join(listed.split())
    for name, known in SUBCOMMANDS.items():
        assert f" {name} " in listed
        assert known.help in listed
        own = load_subcommand(name).help.strip().partition("\n\n")[0]
        assert " ".join(own.split()) == known.help


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("fedvoice exp", "experiment"),
        ("fedvoice experiment ", "run"),
        ("fedvoice serve --ta", "--task"),
    ],
)
def test_the_shell_completes_subcommands_and_their_options(words, wanted):
    asked = {"_FEDVOICE_COMPLETE": "complete_bash", "COMP_WORDS": words}
    done = subprocess.run(
        [sys.executable, "-c", "from fedvoice.cli import main; main()"],
        env={**os.environ, **asked, "COMP_CWORD": str(len(words.split(" ")) - 1)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert wanted in done.stdout.split()

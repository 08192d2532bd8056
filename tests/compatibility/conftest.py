"""What fedvoice 0.1.0 left behind, unpacked: see README.md."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.shared import once

ARCHIVE = Path(__file__).parent / "recorded" / "0.1.0.tar.xz"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all recordings: not to be changed."""

    def unpack(folder: Path) -> None:
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(folder, filter="data")

    return once(tmp_path_factory, "recorded-0.1.0", unpack)


@pytest.fixture
def copy_of(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Copy recordings of these names into an empty folder, which becomes the current one."""
    monkeypatch.chdir(tmp_path)

    def copy(*names: str) -> Path:
        for name in names:
            source = recorded / name
            if source.is_dir():
                shutil.copytree(source, tmp_path / name)
            else:
                shutil.copy(source, tmp_path)
        return tmp_path

    return copy


@pytest.fixture
def fedvoice(tmp_path: Path) -> Run:
    """Run the command beside the copies; it must succeed."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fedvoice", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def recorded_versions(recorded: Path) -> dict[str, str]:
    """Of the libraries that 0.1.0 ran with: they are part of a trial's digest."""
    found: dict[str, str] = read_json(recorded / "experiment.json")["versions"]
    return found


@pytest.fixture
def same_exporter(recorded_versions: dict[str, str]) -> None:
    """Skip where another exporter would make another program, hence another task."""
    for library in ("torch", "executorch"):
        if version(library) != recorded_versions[library]:
            pytest.skip(f"recorded with {library} {recorded_versions[library]}")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))

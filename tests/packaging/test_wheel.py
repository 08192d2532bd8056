"""What is installed is `fedvoice` alone, and it works away from the checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.packaging.wheel import ROOT, build, fresh_environment, run, users_folder
from tests.server.support import make_package
from tests.shared import once


@pytest.fixture
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(out: Path) -> None:
        out.mkdir()
        build(out)

    (found,) = once(tmp_path_factory, "wheel", make).glob("*.whl")
    return found


def test_the_wheel_holds_fedvoice_alone_and_every_data_file(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"fedvoice"}
    for wanted in (
        "fedvoice/py.typed",
        "fedvoice/protocol/fedvoice.proto",
        "fedvoice/android_harness/emulation/bionic/libc.c",
    ):
        assert wanted in names
    sources = {
        f"fedvoice/{path.relative_to(ROOT)}"
        for room in (ROOT / "fedvoice").iterdir()
        if room.is_symlink()
        for path in room.resolve().rglob("*.py")
        if "/android/" not in str(path.relative_to(ROOT))
    }
    assert sources <= set(names)
    assert not [name for name in names if name.endswith(".kt") or "/android/" in name]


def test_the_wheel_holds_no_binary(wheel: Path) -> None:
    # docs/notices.md says so; a binary in it would need its provenance there.
    with zipfile.ZipFile(wheel) as archive:
        found = [name for name in archive.namelist() if b"\0" in archive.read(name)]
    assert found == []


def test_the_version_is_said_once_and_again(wheel: Path) -> None:
    import fedvoice

    assert wheel.name.startswith(f"fedvoice-{fedvoice.__version__}-")


@pytest.mark.slow
def test_a_plain_installation_runs_the_server_and_has_no_torch(wheel: Path, tmp_path: Path) -> None:
    python = fresh_environment(tmp_path / "environment", str(wheel))
    folder = users_folder(tmp_path)
    listed = run([str(python), "-m", "fedvoice", "--help"], folder)
    assert "experiment" in listed.stdout
    assert "deploy" in listed.stdout
    run([str(python), "-c", "import fedvoice.server.app, fedvoice.algorithm.settings"], folder)
    torch = run([str(python), "-c", "import torch"], folder, wanted=1)
    assert "No module named 'torch'" in torch.stderr

    make_package(tmp_path / "task")
    command = [str(python), "-m", "fedvoice", "serve", "--task", str(tmp_path / "task")]
    command += ["--bind", "127.0.0.1:0", "--ready-file", "ready"]
    with subprocess.Popen(command, cwd=folder) as server:
        try:
            while not (folder / "ready").exists():
                assert server.poll() is None, "the server did not start"
                time.sleep(0.05)
            store = str(tmp_path / "task-store")
            run([str(python), "-m", "fedvoice", "invite", "--store", store, "--out", "i"], folder)
        finally:
            server.terminate()
    shutil.copy(ROOT / "experiments" / "demo.toml", folder)
    simulate = ["simulate", "--config", "demo.toml", "--out", "run"]
    lacking = run([str(python), "-m", "fedvoice", *simulate], folder, wanted=2)
    assert "missing-extra" in lacking.stderr
    assert "fedvoice[fleet]" in lacking.stderr


@pytest.mark.slow
def test_two_rounds_of_the_demo_run_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(installed)]
    run([*pip, "--disable-pip-version-check", str(wheel)], tmp_path)
    folder = users_folder(tmp_path)
    shutil.copy(ROOT / "experiments" / "demo.toml", folder)
    where = "import fedvoice, pathlib; print(pathlib.Path(fedvoice.__file__).parents[1])"
    assert run([sys.executable, "-c", where], folder, path=installed).stdout.strip() == str(
        installed
    )
    command = [sys.executable, "-m", "fedvoice", "simulate", "--config", "demo.toml"]
    run([*command, "--rounds", "2", "--out", "run"], folder, path=installed)
    results = json.loads((folder / "run" / "results.json").read_text())
    assert [row["round"] for row in results["rounds"]] == [1, 2]
    assert all(row["end"] == "committed, goal" for row in results["rounds"])
    android = [*command, "--phones", "android=1", "--out", "android"]
    told = run(android, folder, path=installed, wanted=2)
    assert "checkout" in told.stderr

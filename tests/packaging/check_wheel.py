"""Every extra of the wheel in a fresh environment: `make check-wheel`, before a release.

The plain installation on every Python from 3.11 that this machine has, the fast engine with torch
at both ends of its range, and two rounds of the demo with everything. Takes several gigabytes of
downloads; a line for each check, and status 1 if one fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.packaging.wheel import ROOT, build, fresh_environment, run, users_folder

LOWEST_TORCH = "2.4.0"
SERVER = "import fedvoice.server.app, fedvoice.algorithm.federated, fedvoice.data.dataset, fedvoice"


def pythons() -> list[str]:
    """Interpreters from 3.11 on, one of each minor version, found on the path and below pyenv."""
    found: dict[int, str] = {}
    folders = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    for path in sorted(p for folder in folders for p in folder.glob("3.*/bin/python")):
        minor = int(path.parent.parent.name.split(".")[1])
        if minor >= 11:
            found[minor] = str(path)
    for minor in range(11, 20):
        path = shutil.which(f"python3.{minor}")
        if path and minor not in found and "shims" not in path:
            found[minor] = path
    return [found[minor] for minor in sorted(found)] or [sys.executable]


def checks(wheel: Path, parent: Path) -> dict[str, Callable[[], None]]:
    """What is tried, by name; each in a folder of its own."""

    def fresh(name: str, requirement: str, python: str = sys.executable) -> tuple[str, Path]:
        folder = parent / re.sub(r"\W+", "-", name)
        folder.mkdir()
        own = fresh_environment(folder / "environment", requirement, python)
        return str(own), users_folder(folder)

    def plain(python: str) -> None:
        own, folder = fresh(f"plain {python.replace('/', '_')}", str(wheel), python)
        run([own, "-c", SERVER], folder)
        run([own, "-m", "fedvoice", "serve", "--help"], folder)

    def fast(torch: str) -> None:
        # An old torch was built for NumPy 1 and 2 alike from 2.3 on.
        # torchaudio does not say which torch it was built for: an old one needs its own.
        pinned = f"torch{torch} torchaudio{torch}"
        own, folder = fresh(f"fast {torch}", f"{wheel}[fast] {pinned}")
        for example, says in (
            ("own_module.py", "of the test labels are wrong"),
            ("own_corpus.py", "held-out WER"),
        ):
            shutil.copy(ROOT / "examples" / example, folder)
            said = run([own, example], folder).stdout
            assert says in said, said

    def extra(name: str, *command: str) -> None:
        own, folder = fresh(name, f"{wheel}[{name}]")
        for file in ("experiments/demo.toml", "experiments/export-words.toml"):
            shutil.copy(ROOT / file, folder)
        run([own, *command], folder)

    demo = ("simulate", "--config", "demo.toml", "--rounds", "2", "--out", "demo")
    found: dict[str, Callable[[], None]] = {}
    for python in pythons():
        found[f"plain, {python}"] = lambda python=python: plain(python)  # type: ignore[misc]
    found["fast, lowest torch"] = lambda: fast(f"=={LOWEST_TORCH}")
    found["fast, newest torch"] = lambda: fast(">=2.4,<3")
    found["speech"] = lambda: extra("speech", "-c", "import soundfile, sentencepiece, jiwer")
    found["device"] = lambda: extra(
        "device", "-c", "import fedvoice.device_runtime.executorch_engine"
    )
    found["export"] = lambda: extra("export", "-c", "import fedvoice.model_export.package")
    found["fleet"] = lambda: extra("fleet", "-m", "fedvoice", *demo)
    found["ray"] = lambda: extra("ray", "-c", "import ray, fedvoice.simulation.workers.ray_pool")
    return found


def main() -> int:
    """Run the checks, or those whose names begin with a given word."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="names, or their beginnings")
    only = tuple(parser.parse_args().only)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="fedvoice-wheel-") as name:
        wheel = build(Path(name) / "dist")
        for what, check in checks(wheel, Path(name)).items():
            if only and not what.startswith(only):
                continue
            began = time.monotonic()
            try:
                check()
                print(f"ok      {what} ({time.monotonic() - began:.0f} s)", flush=True)
            except AssertionError as error:
                failed += 1
                print(f"FAILED  {what}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""The wheel, built once a run, and environments that it is installed into."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
USERS_MODULES = ("server", "protocol", "data", "simulation", "algorithm")
"""Names that a user's own files may well have."""
_SOURCES = ("README.md", "LICENSE")
_SUFFIXES = (".py", ".pyi", ".proto", ".c", ".typed", ".toml")


def build(out: Path) -> Path:
    """Build sdist and wheel (from the sdist) into the folder `out`; the wheel's path.

    From a copy of what git knows: a checkout may hold old build folders.
    """
    copy = out.with_name(f"{out.name}-sources")
    copy.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, copy / name
        if not source.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.suffix in _SUFFIXES or name in _SOURCES:
            target.write_bytes(source.read_bytes())
    run([sys.executable, "-m", "build", "--outdir", str(out), str(copy)], out.parent)
    (wheel,) = out.glob("*.whl")
    return wheel


def users_folder(parent: Path) -> Path:
    """A folder away from any checkout, with files called as fedvoice's rooms are."""
    folder = parent / "users-folder"
    folder.mkdir(parents=True)
    for name in USERS_MODULES:
        (folder / f"{name}.py").write_text(f"raise SystemExit('imported the user's {name}.py')\n")
    return folder


def fresh_environment(folder: Path, requirement: str, python: str = sys.executable) -> Path:
    """A new environment with `requirement` and nothing else; its interpreter."""
    if python == sys.executable:
        venv.create(folder, with_pip=True)
    else:
        run([python, "-m", "venv", str(folder)], folder.parent)
    own = folder / "bin" / "python"
    pip = [str(own), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run([*pip, *requirement.split()], folder.parent)
    return own


def run(
    command: list[str], cwd: Path, *, path: Path | None = None, wanted: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a command away from the checkout; what it said, if it ended as wanted.

    Args:
        path: a folder of packages that come before the environment's own.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == wanted, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done

"""The Kotlin modules' jars: Maven compiles once for all users.

A `made` file in a shipped module's target folder holds the digest of what its jars were made of.
While that is the same and the jars are there, Maven is not run again: the tests compile
everything, and the phone and the app take what they tested.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from fedvoice.android_harness.emulation.downloads import maven, run
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

ROOT = Path(__file__).resolve().parents[2]
ANDROID = ROOT / "android_harness" / "android"
BUILD = ROOT / "build" / "android"
NATIVES = BUILD / "natives"
SHIPPED = ("desktop", "sdk", "app")
"""Modules whose Maven build copies their class path into target/lib."""

_ALONG = {"app": ("sdk",)}
"""Shipped modules that Maven packs along with one."""
_MADE = "made"


def check_checkout() -> None:
    """See that the Kotlin sources are here: a wheel has none of them.

    Raises:
        FedvoiceError: `missing-extra`.
    """
    if not (ANDROID / "pom.xml").is_file():
        raise FedvoiceError(
            ErrorCode.MISSING_EXTRA,
            where=str(ANDROID),
            got="no Kotlin sources: an installed package has none",
            wanted="a checkout of fedvoice's repository",
            next_step="Run the command in a checkout, with fedvoice installed from it.",
        )


def jars(module: str) -> list[Path]:
    """The jar of a shipped module and those of its class path; compiled if they are not current.

    Raises:
        FedvoiceError: `bad-package` with Maven's first error, `missing-extra` without Maven.
    """
    digest = sources_digest()
    if not _current(module, digest):
        made = (module, *_ALONG.get(module, ()))
        for name in made:
            _forget(name)
        # Not -DskipTests, which compiles tests and fetches the Android versions they run on.
        goals = ["-pl", module, "-am", "package", "-Dmaven.test.skip=true"]
        run([maven(BUILD / "maven"), "-q", *goals], ANDROID)
        for name in made:
            _keep(name, digest)
    return _jars(module)


def verify() -> int:
    """Compile and test every module, with Maven's output; Maven's exit status.

    What passed is kept for `jars`.
    """
    digest = sources_digest()
    for module in SHIPPED:
        _forget(module)
    done = subprocess.run([maven(BUILD / "maven"), "-T", "2", "verify"], cwd=ANDROID, check=False)
    if done.returncode == 0:
        for module in SHIPPED:
            _keep(module, digest)
    return done.returncode


def sources_digest() -> str:
    """sha256 of all that the jars are made of: sources but tests, poms, messages, natives."""
    sources = (path for path in ANDROID.rglob("*") if path.suffix in (".kt", ".xml", ".pro"))
    shipped = (path for path in sources if not {"target", "test", "hostapp"} & set(_parts(path)))
    stamp = NATIVES / "stamp"
    return digest_of_files(
        [*shipped, ROOT / "protocol" / "fedvoice.proto"],
        stamp.read_text(encoding="utf-8") if stamp.is_file() else "",
    )


def digest_of_files(paths: Iterable[Path], *more: str) -> str:
    """sha256 of files' names and bytes, in the order of their paths, and of `more`."""
    digest = hashlib.sha256("|".join(more).encode())
    for path in sorted(paths):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _parts(path: Path) -> tuple[str, ...]:
    return path.relative_to(ANDROID).parts


def _target(module: str) -> Path:
    return ANDROID / module / "target"


def _jars(module: str) -> list[Path]:
    target = _target(module)
    return sorted([*(target / "lib").rglob("*.jar"), *target.glob(f"{module}-*.jar")])


def _current(module: str, digest: str) -> bool:
    made = _target(module) / _MADE
    if not made.is_file():
        return False
    # Names and sizes too: a Maven run by hand, or one that was broken off, may have been here.
    return made.read_text(encoding="utf-8") == _record(module, digest)


def _keep(module: str, digest: str) -> None:
    (_target(module) / _MADE).write_text(_record(module, digest), encoding="utf-8")


def _record(module: str, digest: str) -> str:
    files = (f"{path.name} {path.stat().st_size}" for path in _jars(module))
    return "\n".join([digest, *files])


def _forget(module: str) -> None:
    (_target(module) / _MADE).unlink(missing_ok=True)
    # Libraries of an earlier build would stay on the class path.
    shutil.rmtree(_target(module) / "lib", ignore_errors=True)

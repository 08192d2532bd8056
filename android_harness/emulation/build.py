"""Build the Kotlin phone for this machine: `python -m android_harness.emulation.build`.

    build/android/maven      a Maven new enough, if the installed one is not
    build/android/natives    Android's ExecuTorch binaries and classes, and the stand-ins
    build/android/phone      the JVM phone's class path

`--only natives` stops before the phone. What is there and up to date is left alone.
`--maven GOAL ...` runs Maven itself on the Kotlin build, with its output.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from android_harness.emulation import standins
from android_harness.emulation.downloads import maven, maven_artifact, npm_package, run
from protocol.errors import FedvoiceError

ROOT = Path(__file__).resolve().parents[2]
ANDROID = ROOT / "android_harness" / "android"
BUILD = ROOT / "build" / "android"
NATIVES = BUILD / "natives"
PHONE = BUILD / "phone"

_RUNTIME = ("react-native-executorch", "0.9.3")
_RUNTIME_SHA256 = "70a20a865b82f47ac46c82711d93c2038cf99eccbb9b287494219063f2217622"
_FBJNI = "com.facebook.fbjni:fbjni:0.7.0:aar"
_FBJNI_SHA256 = "7e319ae110ac5e5ef18904170aea5c3e753e915d196699d7fd39d36c8e1dfe36"
_ZSTD = "com.github.luben:zstd-jni:1.5.7-6:aar"
_ABIS = ("arm64-v8a", "x86_64")
_LIBRARIES = ("libexecutorch.so", "libfbjni.so", "libc++_shared.so")


def build_natives(directory: Path = NATIVES) -> None:
    """Fetch and unpack Android's binaries and compile the stand-ins.

    jni/ABI/*.so go into an app; libs/ is what a desktop JVM loads; classes.jar holds the official
    org.pytorch.executorch classes.

    Raises:
        FedvoiceError: `wrong-digest`, `missing-extra`, `missing-operator`, `bad-package`.
    """
    version = "|".join([*_RUNTIME, _RUNTIME_SHA256, _FBJNI, _ZSTD])
    stamp = _digest_of_files([Path(standins.__file__), *standins.SOURCES.iterdir()], version)
    if _stamped(directory, stamp):
        return
    downloads = directory / "downloads"
    with tarfile.open(npm_package(*_RUNTIME, _RUNTIME_SHA256, downloads)) as archive:
        _extract(archive, "package/android/libs/classes.jar", directory / "classes.jar")
        for abi in _ABIS:
            member = f"package/third-party/android/libs/executorch/{abi}/libexecutorch.so"
            _extract(archive, member, directory / "jni" / abi / "libexecutorch.so")
    for coordinates, digest in ((_FBJNI, _FBJNI_SHA256), (_ZSTD, "")):
        with zipfile.ZipFile(maven_artifact(coordinates, downloads, digest)) as aar:
            for name in aar.namelist():
                if name.startswith(tuple(f"jni/{abi}/" for abi in _ABIS)):
                    aar.extract(name, directory)
    libs = directory / "libs"
    shutil.rmtree(libs, ignore_errors=True)
    libs.mkdir()
    copies = [Path(shutil.copy(directory / "jni" / "x86_64" / n, libs)) for n in _LIBRARIES]
    standins.build(copies, libs)
    shutil.rmtree(downloads)
    (directory / "stamp").write_text(stamp, encoding="utf-8")


def build_phone(directory: Path = PHONE) -> None:
    """Compile the JVM phone and lay out its class path; its tests are `make test-android`'s.

    Raises:
        FedvoiceError: `bad-package` with Maven's first error.
    """
    sources = (p for p in ANDROID.rglob("*") if p.suffix in (".kt", ".xml") and not _made(p))
    stamp = _digest_of_files([*sources, ROOT / "protocol" / "fedvoice.proto"])
    if _stamped(directory, stamp):
        return
    draft = directory.with_name("phone.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    lib = ANDROID / "desktop" / "target" / "lib"
    shutil.rmtree(lib, ignore_errors=True)
    run([maven(BUILD / "maven"), "-q", "-pl", "desktop", "-am", "package", "-DskipTests"], ANDROID)
    shutil.copytree(lib, draft)
    for jar in (ANDROID / "desktop" / "target").glob("desktop-*.jar"):
        shutil.copy(jar, draft)
    (draft / "stamp").write_text(stamp, encoding="utf-8")
    shutil.rmtree(directory, ignore_errors=True)
    draft.rename(directory)


def _made(path: Path) -> bool:
    return "target" in path.relative_to(ANDROID).parts


def _extract(archive: tarfile.TarFile, member: str, path: Path) -> None:
    source = archive.extractfile(member)
    assert source is not None, f"{member} is a file of the checked tarball"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(source, file)


def _stamped(directory: Path, stamp: str) -> bool:
    path = directory / "stamp"
    return path.is_file() and path.read_text(encoding="utf-8") == stamp


def _digest_of_files(paths: Iterable[Path], *more: str) -> str:
    digest = hashlib.sha256("|".join(more).encode())
    for path in sorted(paths):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main(arguments: list[str]) -> int:
    """Build what is not up to date; 1 with the reason if it cannot."""
    parser = argparse.ArgumentParser(
        prog="python -m android_harness.emulation.build", description=(__doc__ or "").strip()
    )
    parser.add_argument("--only", choices=["maven", "natives", "phone"])
    parser.add_argument("--maven", nargs="+", metavar="GOAL", default=[])
    given = parser.parse_args(arguments)
    only = given.only
    steps: dict[str, Callable[[], object]] = {
        "maven": lambda: maven(BUILD / "maven"),
        "natives": build_natives,
        "phone": build_phone,
    }
    try:
        if given.maven:
            command = [maven(BUILD / "maven"), *given.maven]
            return subprocess.run(command, cwd=ANDROID, check=False).returncode
        for name, step in steps.items():
            if only in (None, name):
                print(f"{name} ...", flush=True)
                step()
    except FedvoiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"done: {BUILD}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

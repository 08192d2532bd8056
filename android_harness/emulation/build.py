"""Build the Kotlin phone for this machine: `python -m fedvoice.android_harness.emulation.build`.

    build/android/maven      a Maven new enough, if the installed one is not
    build/android/natives    Android's ExecuTorch binaries and classes, and the stand-ins
    build/android/phone      the JVM phone's class path

What is there and up to date is left alone. `--only natives` makes that one. `--verify` tests every
Kotlin module, with Maven's output, before the phone is laid out. `--maven GOAL ...` runs Maven
itself on the Kotlin build.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from fedvoice.android_harness.command import exit_status, parser_of
from fedvoice.android_harness.emulation import standins
from fedvoice.android_harness.emulation.downloads import maven, maven_artifact, npm_package
from fedvoice.android_harness.emulation.jars import (
    ANDROID,
    BUILD,
    NATIVES,
    digest_of_files,
    jars,
    sources_digest,
    verify,
)

PHONE = BUILD / "phone"

RUNTIME = ("react-native-executorch", "0.9.3")
_RUNTIME_SHA256 = "70a20a865b82f47ac46c82711d93c2038cf99eccbb9b287494219063f2217622"
FBJNI = "com.facebook.fbjni:fbjni:0.7.0:aar"
_FBJNI_SHA256 = "7e319ae110ac5e5ef18904170aea5c3e753e915d196699d7fd39d36c8e1dfe36"
ZSTD = "com.github.luben:zstd-jni:1.5.7-6:aar"
_ZSTD_SHA256 = "7ceecc8bfc2f49817afc34965962c50b1c47ba5f60584e8a96efd4f813e46393"
_ABIS = ("arm64-v8a", "x86_64")
_LIBRARIES = ("libexecutorch.so", "libfbjni.so", "libc++_shared.so")


def build_natives(directory: Path = NATIVES) -> None:
    """Fetch and unpack Android's binaries and compile the stand-ins.

    jni/ABI/*.so go into an app; libs/ is what a desktop JVM loads; classes.jar holds the official
    org.pytorch.executorch classes.

    Raises:
        FedvoiceError: `wrong-digest`, `missing-extra`, `missing-operator`, `bad-package`.
    """
    version = "|".join([*RUNTIME, _RUNTIME_SHA256, FBJNI, ZSTD])
    stamp = digest_of_files([Path(standins.__file__), *standins.SOURCES.iterdir()], version)
    if _stamped(directory, stamp):
        return
    downloads = directory / "downloads"
    with tarfile.open(npm_package(*RUNTIME, _RUNTIME_SHA256, downloads)) as archive:
        _extract(archive, "package/android/libs/classes.jar", directory / "classes.jar")
        for abi in _ABIS:
            member = f"package/third-party/android/libs/executorch/{abi}/libexecutorch.so"
            _extract(archive, member, directory / "jni" / abi / "libexecutorch.so")
    for coordinates, digest in ((FBJNI, _FBJNI_SHA256), (ZSTD, _ZSTD_SHA256)):
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
    """Lay out the JVM phone's class path, compiled if need be; tests are `make test-android`'s.

    Raises:
        FedvoiceError: `bad-package` with Maven's first error.
    """
    stamp = sources_digest()
    if _stamped(directory, stamp):
        return
    draft = directory.with_name("phone.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for jar in jars("desktop"):
        shutil.copy(jar, draft)
    (draft / "stamp").write_text(stamp, encoding="utf-8")
    shutil.rmtree(directory, ignore_errors=True)
    draft.rename(directory)


def _extract(archive: tarfile.TarFile, member: str, path: Path) -> None:
    source = archive.extractfile(member)
    assert source is not None, f"{member} is a file of the checked tarball"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(source, file)


def _stamped(directory: Path, stamp: str) -> bool:
    path = directory / "stamp"
    return path.is_file() and path.read_text(encoding="utf-8") == stamp


def main(arguments: list[str]) -> int:
    """Build what is not up to date; 1 with the reason if it cannot."""
    parser = parser_of("emulation.build", __doc__)
    parser.add_argument("--only", choices=["maven", "natives", "phone"])
    parser.add_argument("--verify", action="store_true")
    parser.add_argument("--maven", nargs="+", metavar="GOAL", default=[])
    given = parser.parse_args(arguments)
    steps: dict[str, Callable[[], object]] = {
        "maven": lambda: maven(BUILD / "maven"),
        "natives": build_natives,
        "phone": build_phone,
    }

    def work() -> int:
        if given.maven:
            command = [maven(BUILD / "maven"), *given.maven]
            return subprocess.run(command, cwd=ANDROID, check=False).returncode
        for name, step in steps.items():
            if given.only in (None, name):
                print(f"{name} ...", flush=True)
                if name == "phone" and given.verify and (status := verify()):
                    return status
                step()
        print(f"done: {BUILD}")
        return 0

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

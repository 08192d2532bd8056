"""What the SDK weighs and what its start costs; `benchmarks.android_phone` reports it.

aar_bytes   fedvoice-sdk.aar: our own classes, manifest, rules, notices.
apk_bytes   the dictation app for the 64-bit ABI that takes more: the APK without the other ABI's
            libraries, which lie in it compressed. `apk installed bytes` is what it takes of each
            phone: the same, and the libraries that are extracted when it is installed.
start_ms    `FedVoice.start` on the calling thread, median of 51: the time of a JVM on this
            machine under Robolectric, not a phone's.
"""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

from fedvoice.android_harness.aar.build import REPOSITORY, SDK
from fedvoice.android_harness.apk.build import APK
from fedvoice.android_harness.emulation.build import build_natives
from fedvoice.android_harness.emulation.downloads import maven
from fedvoice.android_harness.emulation.jars import ANDROID, BUILD
from fedvoice.protocol.errors import ErrorCode, FedvoiceError


def measure() -> tuple[dict[str, float], dict[str, object]]:
    """The three numbers, and further measurements.

    Raises:
        FedvoiceError: `not-found` for what is not built.
    """
    first_ms, start_ms = start_millis()
    by_abi = apk_bytes_of_abis(_built(APK, "make apk"), installed=False)
    found = sorted(REPOSITORY.rglob(f"{SDK}-*.aar"))
    result = {
        "aar_bytes": _built(found[-1] if found else REPOSITORY / SDK, "make aar").stat().st_size,
        "apk_bytes": max(by_abi.values()),
        "start_ms": round(start_ms, 2),
    }
    return result, {
        "start_ms": f"of a JVM, not of a phone; its first start took {first_ms:.0f} ms",
        "apk bytes": by_abi,
        "apk installed bytes": apk_bytes_of_abis(APK, installed=True),
    }


def apk_bytes_of_abis(apk: Path, *, installed: bool) -> dict[str, int]:
    """Size of an APK for each ABI: all of it but the libraries of the others.

    Args:
        installed: with the libraries once more, as they are extracted from it.
    """
    packed: dict[str, int] = {}
    extracted: dict[str, int] = {}
    with zipfile.ZipFile(apk) as archive:
        for info in archive.infolist():
            if info.filename.startswith("lib/"):
                abi = info.filename.split("/")[1]
                packed[abi] = packed.get(abi, 0) + info.compress_size
                extracted[abi] = extracted.get(abi, 0) + info.file_size
    rest = apk.stat().st_size - sum(packed.values())
    return {abi: rest + own + installed * extracted[abi] for abi, own in packed.items()}


def start_millis() -> tuple[float, float]:
    """The first start in a JVM, and the median of many."""
    build_natives()
    said = ANDROID / "sdk" / "target" / "start_ms.txt"
    said.unlink(missing_ok=True)
    wanted = ["-Dtest=StartBench", "-Dsurefire.failIfNoSpecifiedTests=false"]
    command = [maven(BUILD / "maven"), "-q", "-B", "-ntp", "-pl", "sdk", "-am", "test", *wanted]
    subprocess.run(command, cwd=ANDROID, check=True, stdout=subprocess.DEVNULL)
    first, median = map(float, said.read_text().split())
    return first, median


def _built(path: Path, command: str) -> Path:
    if path.is_file():
        return path
    raise FedvoiceError(
        ErrorCode.NOT_FOUND,
        where=str(path),
        got="no such file",
        wanted="what is to be weighed",
        next_step=f"Build it: {command}.",
    )

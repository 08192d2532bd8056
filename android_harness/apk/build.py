"""`python -m fedvoice.android_harness.apk.build`: the dictation app, from Kotlin to a signed APK.

    build/android/fedvoice.apk      signed with build/android/test.keystore (made here, for tests)

Maven compiles, R8 shrinks, aapt2 links resources, zipalign aligns, apksigner signs; then manifest,
native libraries, dex and signature are checked. Not run here, for want of a phone: ART, the real
JobScheduler and Doze, SELinux, thermals, the battery.
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from fedvoice.android_harness.aar.libraries import read_libraries
from fedvoice.android_harness.aar.notices import LIBRARIES, components, notices_text
from fedvoice.android_harness.apk.checks import (
    apk_faults,
    manifest_faults,
    misaligned_segments,
    unmet_imports,
)
from fedvoice.android_harness.command import exit_status, parser_of
from fedvoice.android_harness.emulation.build import build_natives
from fedvoice.android_harness.emulation.downloads import maven_artifact, run
from fedvoice.android_harness.emulation.jars import ANDROID, BUILD, NATIVES, jars
from fedvoice.protocol.cost import human_bytes
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

MIN_API = 28
TARGET_API = 35
APK = BUILD / "fedvoice.apk"
NOT_RUN = "ART, the real JobScheduler and Doze, SELinux, thermals, the battery"

_R8 = "com.android.tools:r8:9.5.28"
_PLATFORM = "org.robolectric:android-all:14-robolectric-10818077"
_MANIFEST = ANDROID / "app" / "src" / "main" / "AndroidManifest.xml"
_RULES = (ANDROID / "sdk" / "consumer-rules.pro", ANDROID / "app" / "rules.pro")
_ABIS = ("arm64-v8a", "x86_64")
_NEEDED_BY_JNI = (
    "org/pytorch/executorch/Module",
    "org/pytorch/executorch/extension/llm/LlmModule",
    "com/facebook/jni/HybridData",
)
_PASSWORD = "fedvoice"


def build(apk: Path = APK) -> Path:
    """Build, sign and check the APK.

    Raises:
        FedvoiceError: `missing-extra` without a tool, `bad-package` for what a tool or a check
            refuses.
    """
    build_natives()
    work = BUILD / "apk"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    downloads = BUILD / "downloads"
    platform = maven_artifact(_PLATFORM, downloads)
    _say("natives and manifest")
    _refuse(_static_faults())
    _say("Maven")
    compiled = [*jars("app"), NATIVES / "classes.jar"]
    _say("R8")
    code = _shrink(compiled, platform, maven_artifact(_R8, downloads), work)
    _say("aapt2, zipalign, apksigner")
    _assemble(code, platform, work)
    aligned = work / "aligned.apk"
    run(["zipalign", "-f", "4", str(work / "unsigned.apk"), str(aligned)], work)
    _sign(aligned, apk)
    _say("checks")
    _refuse([*apk_faults(apk, extracted=True), *_tool_faults(apk, work)])
    return apk


def _static_faults() -> list[str]:
    libraries = {abi: sorted((NATIVES / "jni" / abi).glob("*.so")) for abi in _ABIS}
    return [
        *manifest_faults(_MANIFEST, TARGET_API),
        *(fault for own in libraries.values() for fault in unmet_imports(own, MIN_API)),
        *(fault for own in libraries.values() for fault in misaligned_segments(own)),
    ]


def _shrink(compiled: Sequence[Path], platform: Path, r8: Path, work: Path) -> Path:
    """A zip with the dex files and the Java resources that are still wanted."""
    output = work / "code.zip"
    rules = [argument for path in _RULES for argument in ("--pg-conf", str(path))]
    run(
        [
            # It ends before the second compiler's work pays: half of the processor's time.
            "java", "-Xmx2g", "-XX:TieredStopAtLevel=1", "-cp", str(r8), "com.android.tools.r8.R8",
            "--release", "--min-api", str(MIN_API),
            # The Android classes come without java.*: that part is the JDK's.
            "--lib", str(platform), "--lib", str(_jdk()),
            "--pg-map-output", str(work / "mapping.txt"), "--output", str(output),
            *rules, *map(str, compiled),
        ],
        work,
    )  # fmt: skip
    return output


def _jdk() -> Path:
    java = shutil.which("javac") or shutil.which("java") or "java"
    return Path(java).resolve().parents[1]


def _assemble(code: Path, platform: Path, work: Path) -> None:
    """unsigned.apk: manifest and resources, dex, services, native libraries.

    Libraries are compressed: the manifest has them extracted (docs/android.md, The app's size).
    """
    run(
        ["aapt2", "compile", "--dir", str(ANDROID / "app/src/main/res"), "-o", "resources.zip"],
        work,
    )
    run(
        [
            "aapt2", "link", "-o", "unsigned.apk", "--manifest", str(_MANIFEST),
            "-I", str(platform), "--min-sdk-version", str(MIN_API),
            "--target-sdk-version", str(TARGET_API),
            "--version-code", "1", "--version-name", "0.1.0",
            "-A", str(_with_notices(work)), "resources.zip",
        ],
        work,
    )  # fmt: skip
    with (
        zipfile.ZipFile(code) as source,
        zipfile.ZipFile(work / "unsigned.apk", "a", zipfile.ZIP_DEFLATED, compresslevel=9) as apk,
    ):
        for name in source.namelist():
            if name.endswith(".dex") or name.startswith("META-INF/services/"):
                apk.writestr(name, source.read(name))
        for abi in _ABIS:
            for library in sorted((NATIVES / "jni" / abi).glob("*.so")):
                apk.write(library, f"lib/{abi}/{library.name}")


def _with_notices(work: Path) -> Path:
    """The folder of assets: what others made and under which licences; the AAR brings the same."""
    assets = work / "assets"
    assets.mkdir()
    text = notices_text(components(read_libraries(LIBRARIES)))
    (assets / "fedvoice_notices.txt").write_text(text, encoding="utf-8")
    return assets


def _sign(aligned: Path, apk: Path) -> None:
    keystore = BUILD / "test.keystore"
    secret = ["--ks", str(keystore), "--ks-pass", f"pass:{_PASSWORD}"]
    if not keystore.is_file():
        run(
            [
                "keytool", "-genkeypair", "-keystore", str(keystore), "-storepass", _PASSWORD,
                "-keypass", _PASSWORD, "-alias", "test", "-keyalg", "EC", "-groupname",
                "secp256r1", "-validity", "10000", "-dname", "CN=fedvoice test key",
            ],
            BUILD,
        )  # fmt: skip
    level = ["--min-sdk-version", str(MIN_API)]
    run(["apksigner", "sign", *secret, *level, "--out", str(apk), str(aligned)], BUILD)


def _tool_faults(apk: Path, work: Path) -> list[str]:
    """What apksigner, aapt2 and dexdump find."""
    verified = run(["apksigner", "verify", "-v", "--min-sdk-version", str(MIN_API), str(apk)], work)
    badging = run(["aapt2", "dump", "badging", str(apk)], work)
    wanted = {
        "Verifies": verified,
        "v3 scheme (APK Signature Scheme v3): true": verified,
        f"sdkVersion:'{MIN_API}'": badging,
        f"targetSdkVersion:'{TARGET_API}'": badging,
        "launchable-activity": badging,
        "'arm64-v8a'": badging,
    }
    faults = [
        f"{text!r} is not what the tools say" for text, said in wanted.items() if text not in said
    ]
    with zipfile.ZipFile(apk) as archive:
        dexes = [name for name in archive.namelist() if name.endswith(".dex")]
        archive.extractall(work / "dex", dexes)
    classes = ""
    for name in dexes:
        classes += run(["dexdump", "-f", str(work / "dex" / name)], work)
    faults += [f"R8 removed {name}" for name in _NEEDED_BY_JNI if f"L{name};" not in classes]
    return faults


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        raise FedvoiceError(
            ErrorCode.BAD_PACKAGE,
            where="the app",
            got="; ".join(faults[:5]) + (f" and {len(faults) - 5} more" if faults[5:] else ""),
            wanted="an app that installs and runs on the API levels it claims",
            next_step="Correct what is named; android_harness/apk/checks.py says why it matters.",
        )


def _say(step: str) -> None:
    print(f"{step} ...", flush=True)


def main(arguments: list[str]) -> int:
    """Build and check; 1 with the reason if that fails."""
    parser_of("apk.build", __doc__).parse_args(arguments)

    def work() -> int:
        apk = build()
        print(f"done: {apk}, {human_bytes(apk.stat().st_size)}; not run here: {NOT_RUN}")
        return 0

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

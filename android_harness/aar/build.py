"""`python -m fedvoice.android_harness.aar.build`: the SDK as one artifact of a Maven repository.

    build/android/repository/org/fedvoice/fedvoice-sdk          our classes, manifest, R8 rules
    build/android/repository/org/fedvoice/executorch-runtime    ExecuTorch's classes and natives

`fedvoice-sdk` holds all five modules in one classes.jar, so that no host mixes their versions;
libraries of others are named in its pom, so that the host's build settles their versions. The
runtime is an artifact of its own: a host that has org.pytorch:executorch-android leaves it out.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from fedvoice.android_harness.aar.libraries import (
    OURS,
    Library,
    declared_keys,
    read_libraries,
    version_of,
)
from fedvoice.android_harness.aar.notices import (
    EXECUTORCH,
    LIBRARIES,
    components,
    notices_text,
)
from fedvoice.android_harness.aar.pom import Dependency, pom_text
from fedvoice.android_harness.command import exit_status, parser_of
from fedvoice.android_harness.emulation.build import FBJNI, build_natives
from fedvoice.android_harness.emulation.downloads import maven
from fedvoice.android_harness.emulation.jars import ANDROID, BUILD, NATIVES, jars
from fedvoice.protocol.cost import human_bytes

REPOSITORY = BUILD / "repository"
MODULES = ("wire", "core", "transport", "engine", "sdk")
MIN_API = 28
SDK, SDK_VERSION = "fedvoice-sdk", version_of(ANDROID / "pom.xml")
RUNTIME, RUNTIME_VERSION = "executorch-runtime", "1.3"

_FROM_RUNTIME = frozenset(
    {"com.facebook.fbjni:fbjni-java-only", "com.facebook.soloader:nativeloader"}
)
"""What the desktop needs by itself comes with the runtime's artifact on Android."""
_IN_OUR_TYPES = frozenset(
    {
        "org.jetbrains.kotlin:kotlin-stdlib",
        "org.jetbrains.kotlinx:kotlinx-coroutines-core-jvm",
        "org.jetbrains.kotlinx:kotlinx-serialization-json-jvm",
    }
)
# gRPC's pom asks for the Guava of desktops, which uses classes that API 28 has not.
_SETTLED = ("com.google.guava:guava",)
_AARS = frozenset({"com.github.luben:zstd-jni"})
_EPOCH = (1980, 1, 1, 0, 0, 0)
_METADATA = "META-INF/com/android/build/gradle/aar-metadata.properties"
_FORMAT = "aarFormatVersion=1.0\naarMetadataVersion=1.0\n"


def build(repository: Path = REPOSITORY) -> Path:
    """Make both artifacts, with poms, sources and digests; the path of fedvoice-sdk's AAR.

    Raises:
        FedvoiceError: as `jars`; `bad-package` for a licence that nobody has looked at.
    """
    build_natives()
    modules = {path.stem.rpartition("-")[0]: path for path in jars("sdk")}
    libraries = read_libraries(LIBRARIES)
    shutil.rmtree(repository, ignore_errors=True)
    shipped = components(libraries)
    of_runtime = [c for c in shipped if c.project == EXECUTORCH]
    ours = [modules[name] for name in MODULES]
    sdk = _publish(
        repository,
        SDK,
        SDK_VERSION,
        pom_text(
            OURS,
            SDK,
            SDK_VERSION,
            "Federated training of a speech recogniser inside an Android app",
            "Apache-2.0",
            sdk_dependencies(libraries),
        ),
        {
            "AndroidManifest.xml": _with_min_api(ANDROID / "sdk/src/main/AndroidManifest.xml"),
            "classes.jar": zipped(_classes(ours)),
            "proguard.txt": (ANDROID / "sdk/consumer-rules.pro").read_bytes(),
            "R.txt": b"",
            "assets/fedvoice_notices.txt": notices_text(shipped).encode(),
            _METADATA: _FORMAT.encode(),
        },
        zipped(_sources()),
    )
    _publish(
        repository,
        RUNTIME,
        RUNTIME_VERSION,
        pom_text(
            OURS,
            RUNTIME,
            RUNTIME_VERSION,
            "ExecuTorch's unchanged Android classes and libraries, for hosts without their own",
            "BSD-3-Clause",
            [_parsed(FBJNI)],
        ),
        {
            "AndroidManifest.xml": (ANDROID / "runtime" / "AndroidManifest.xml").read_bytes(),
            "classes.jar": (NATIVES / "classes.jar").read_bytes(),
            "R.txt": b"",
            "assets/fedvoice_runtime_notices.txt": notices_text(of_runtime).encode(),
            _METADATA: _FORMAT.encode(),
            **{
                f"jni/{path.parent.name}/{path.name}": path.read_bytes()
                for path in sorted((NATIVES / "jni").rglob("libexecutorch.so"))
            },
        },
    )
    return sdk


def sdk_dependencies(libraries: list[Library]) -> list[Dependency]:
    """What our five modules declare, in the versions that were resolved, and the runtime."""
    resolved = {library.key: library for library in libraries}
    declared = {key for name in MODULES for key in declared_keys(ANDROID / name / "pom.xml")}
    wanted = [resolved[key] for key in sorted(declared - _FROM_RUNTIME | set(_SETTLED))]
    return [
        Dependency(OURS, RUNTIME, RUNTIME_VERSION, packaging="aar"),
        *(
            Dependency(
                library.group,
                library.name,
                library.version,
                scope="compile" if library.key in _IN_OUR_TYPES else "runtime",
                packaging="aar" if library.key in _AARS else "jar",
            )
            for library in wanted
        ),
    ]


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip archive; the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name])
    return buffer.getvalue()


def _publish(
    repository: Path,
    name: str,
    version: str,
    pom: str,
    files: Mapping[str, bytes],
    sources: bytes | None = None,
) -> Path:
    folder = repository.joinpath(*OURS.split("."), name, version)
    folder.mkdir(parents=True)
    stem = f"{name}-{version}"
    made = {f"{stem}.aar": zipped(files), f"{stem}.pom": pom.encode()}
    if sources is not None:
        made[f"{stem}-sources.jar"] = sources
    for file_name, data in made.items():
        (folder / file_name).write_bytes(data)
        for algorithm in ("sha1", "sha256"):
            digest = hashlib.new(algorithm, data).hexdigest()
            (folder / f"{file_name}.{algorithm}").write_text(digest, encoding="ascii")
    return folder / f"{stem}.aar"


def _classes(modules: list[Path]) -> dict[str, bytes]:
    """Classes and Kotlin's metadata of all modules; Maven's own files are left out."""
    found: dict[str, bytes] = {}
    for jar in modules:
        with zipfile.ZipFile(jar) as archive:
            for name in archive.namelist():
                if name.endswith((".class", ".kotlin_module")):
                    # A host app may well have a module `core` of its own.
                    target = name.replace("META-INF/", "META-INF/fedvoice-")
                    assert target not in found, f"{name} is in two modules"
                    found[target] = archive.read(name)
    return found


def _sources() -> dict[str, bytes]:
    roots = [ANDROID / name / "src" / "main" / "kotlin" for name in MODULES]
    roots.append(ANDROID / "wire" / "target" / "generated-sources" / "protobuf")
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.suffix in (".kt", ".java")
    }


def _with_min_api(manifest: Path) -> bytes:
    """The library's manifest as AGP would pack it: with the oldest Android it runs on."""
    text = manifest.read_text(encoding="utf-8")
    before, application, after = text.partition("    <application>")
    assert application, f"{manifest} has an application"
    line = f'    <uses-sdk android:minSdkVersion="{MIN_API}" />\n\n'
    return (before + line + application + after).encode()


def _parsed(coordinates: str) -> Dependency:
    group, name, version, packaging = coordinates.split(":")
    return Dependency(group, name, version, packaging=packaging)


def build_host_app() -> int:
    """Build the host app from the repository, with Maven's output; Maven's exit status.

    Its own local repository stands before the user's, so that what is in there of fedvoice's is
    what was just made.
    """
    own = BUILD / "host-app"
    shutil.rmtree(own / "org" / "fedvoice", ignore_errors=True)
    users = (LIBRARIES / "repository.txt").read_text(encoding="utf-8").strip()
    command = [
        maven(BUILD / "maven"), "-B", "-ntp", "-f", str(ANDROID / "hostapp"), "clean", "package",
        f"-Dfedvoice.repository={REPOSITORY}", f"-Dfedvoice.version={SDK_VERSION}",
        f"-Dmaven.repo.local={own}", f"-Dmaven.repo.local.tail={users}",
        "-Dmaven.repo.local.tail.ignoreAvailability=true",
    ]  # fmt: skip
    return subprocess.run(command, cwd=ANDROID / "hostapp", check=False).returncode


def main(arguments: list[str]) -> int:
    """Build; 1 with the reason if that fails."""
    parser = parser_of("aar.build", __doc__)
    parser.add_argument("--host-app", action="store_true", help="then build the host app from it")
    given = parser.parse_args(arguments)

    def work() -> int:
        aar = build()
        print(f"done: {aar}, {human_bytes(aar.stat().st_size)}")
        return build_host_app() if given.host_app else 0

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

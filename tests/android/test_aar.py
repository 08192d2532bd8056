"""What `make aar` publishes, and the app of somebody else that `make host-app` builds from it."""

from __future__ import annotations

import hashlib
import io
import re
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import pytest

from fedvoice.android_harness.aar.build import (
    MIN_API,
    MODULES,
    REPOSITORY,
    RUNTIME,
    RUNTIME_VERSION,
    SDK,
    SDK_VERSION,
)
from fedvoice.android_harness.apk.checks import apk_faults, manifest_faults
from fedvoice.android_harness.emulation.jars import ANDROID, NATIVES

HOST = ANDROID / "hostapp"
MERGED = HOST / "target" / "AndroidManifest.xml"
HOST_APK = HOST / "target" / "diary.apk"
NAME = "{http://schemas.android.com/apk/res/android}name"
POM = "{http://maven.apache.org/POM/4.0.0}"

needs_aar = pytest.mark.skipif(not REPOSITORY.is_dir(), reason="no AAR: make aar")
needs_host_app = pytest.mark.skipif(not HOST_APK.is_file(), reason="no host app: make host-app")


def published(name: str, version: str, ending: str) -> Path:
    return REPOSITORY / "org" / "fedvoice" / name / version / f"{name}-{version}{ending}"


def sdk(ending: str = ".aar") -> Path:
    return published(SDK, SDK_VERSION, ending)


def runtime(ending: str = ".aar") -> Path:
    return published(RUNTIME, RUNTIME_VERSION, ending)


def files_in(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as file:
        return {name: file.read(name) for name in file.namelist() if not name.endswith("/")}


def classes_in(aar: Path) -> set[str]:
    jar = zipfile.ZipFile(io.BytesIO(files_in(aar)["classes.jar"]))
    return {name for name in jar.namelist() if not name.endswith("/")}


@needs_aar
def test_the_repository_holds_what_build_tools_ask_for() -> None:
    wanted = [sdk(), sdk(".pom"), sdk("-sources.jar"), runtime(), runtime(".pom")]
    for path in wanted:
        digest = path.with_name(f"{path.name}.sha1").read_text()
        assert digest == hashlib.sha1(path.read_bytes()).hexdigest()
    everything = {p for p in REPOSITORY.rglob("*") if p.is_file() and ".sha" not in p.suffix}
    assert everything == set(wanted)


@needs_aar
def test_the_artifact_says_all_that_a_host_app_needs() -> None:
    files = files_in(sdk())
    assert files["proguard.txt"] == (ANDROID / "sdk" / "consumer-rules.pro").read_bytes()
    root = ET.fromstring(files["AndroidManifest.xml"])
    uses = root.find("uses-sdk")
    assert uses is not None
    assert uses.get(NAME.replace("name", "minSdkVersion")) == str(MIN_API)
    # A library has no say in the app's own attributes.
    application = root.find("application")
    assert application is not None
    assert application.attrib == {}
    sources = set(files_in(sdk("-sources.jar")))
    written = {
        path.relative_to(ANDROID / module / "src/main/kotlin").as_posix()
        for module in MODULES
        for path in (ANDROID / module / "src/main/kotlin").rglob("*.kt")
    }
    assert written <= sources
    assert "org/fedvoice/wire/Statistics.java" in sources


@needs_aar
def test_a_hosts_own_executorch_can_stand_for_ours() -> None:
    ours = classes_in(sdk())
    assert not [name for name in ours if name.startswith(("org/pytorch/", "com/"))]
    assert not [name for name in files_in(sdk()) if name.endswith(".so")]
    assert "org/pytorch/executorch/Module.class" in classes_in(runtime())
    needed = ET.parse(sdk(".pom")).getroot().findall(f"{POM}dependencies/{POM}dependency")
    keys = [f"{d.findtext(f'{POM}groupId')}:{d.findtext(f'{POM}artifactId')}" for d in needed]
    assert keys.count(f"org.fedvoice:{RUNTIME}") == 1
    assert not [key for key in keys if "pytorch" in key or "fbjni" in key]


@needs_aar
def test_the_runtime_is_the_published_one_unchanged() -> None:
    files = files_in(runtime())
    assert files["classes.jar"] == (NATIVES / "classes.jar").read_bytes()
    for abi in ("arm64-v8a", "x86_64"):
        built = NATIVES / "jni" / abi / "libexecutorch.so"
        assert files[f"jni/{abi}/libexecutorch.so"] == built.read_bytes()


def test_the_host_app_knows_nothing_but_the_repository() -> None:
    build = "".join((HOST / name).read_text() for name in ("pom.xml", "steps.xml"))
    code = re.sub(r"<!--.*?-->", "", build, flags=re.DOTALL)
    for ours in ("consumer-rules", "/sdk/src", "<parent>", "build/android/natives", "python"):
        assert ours not in code, ours
    manifest = (HOST / "src/main/AndroidManifest.xml").read_text()
    assert "org.fedvoice" not in manifest
    assert not list(HOST.glob("*.pro"))


@needs_host_app
def test_the_hosts_manifest_gets_the_librarys_parts_by_the_merge() -> None:
    own = ET.parse(HOST / "src/main/AndroidManifest.xml").getroot()
    merged = ET.parse(MERGED).getroot()
    library = ET.fromstring(files_in(sdk())["AndroidManifest.xml"])

    def names(root: ET.Element, tags: tuple[str, ...]) -> set[str]:
        return {element.get(NAME, "") for tag in tags for element in root.iter(tag)}

    for tags in (("uses-permission",), ("service", "receiver", "activity", "provider")):
        assert names(merged, tags) == names(own, tags) | names(library, tags)
    before, after = own.find("application"), merged.find("application")
    assert before is not None
    assert after is not None
    assert after.attrib == before.attrib
    assert manifest_faults(MERGED, 35) == []


@needs_host_app
def test_the_shrunk_host_app_keeps_what_is_found_by_name_and_no_more() -> None:
    renamed = {}
    for line in (HOST / "target" / "mapping.txt").read_text().splitlines():
        if match := re.fullmatch(r"(\S+) -> (\S+):", line):
            renamed[match[1]] = match[2]
    by_name = (
        "org.pytorch.executorch.Module",
        "org.pytorch.executorch.extension.llm.LlmModule",
        "com.facebook.jni.HybridData",
        "com.github.luben.zstd.Zstd",
        "org.fedvoice.sdk.TrainingJob",
        "org.fedvoice.sdk.TrainingService",
        "org.fedvoice.sdk.DeployReceiver",
        "com.example.diary.SyncJob",
    )
    dex = b"".join(data for name, data in files_in(HOST_APK).items() if name.endswith(".dex"))
    for name in by_name:
        assert f"L{name.replace('.', '/')};".encode() in dex, name
        assert renamed.get(name, name) == name
    # Full mode: what is reached from code alone is renamed.
    ours = {name for name in renamed if name.startswith("org.fedvoice.core.")}
    assert len(ours) > 100
    assert {name for name in ours if renamed[name] == name} == set()


@needs_host_app
def test_the_host_app_holds_the_library_and_its_natives() -> None:
    files = files_in(HOST_APK)
    natives = {name.rpartition("/")[2] for name in files if name.startswith("lib/arm64-v8a/")}
    assert {"libexecutorch.so", "libfbjni.so", "libc++_shared.so"} < natives
    assert any(name.startswith("libzstd-jni") for name in natives)
    # Its manifest does not ask for libraries that are mapped from the package.
    assert apk_faults(HOST_APK, extracted=True) == []
    assert {"assets/fedvoice_notices.txt", "assets/fedvoice_runtime_notices.txt"} <= set(files)

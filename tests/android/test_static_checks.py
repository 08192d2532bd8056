"""What is checked of the app before any phone sees it; and that each check finds what is wrong."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from fedvoice.android_harness.apk.build import MIN_API, TARGET_API
from fedvoice.android_harness.apk.checks import (
    PAGE_BYTES,
    apk_faults,
    manifest_faults,
    misaligned_segments,
    unmet_imports,
    unregistered_operators,
)
from fedvoice.android_harness.deploy import fitness
from fedvoice.android_harness.emulation import elf
from fedvoice.android_harness.emulation.jars import ANDROID, NATIVES
from fedvoice.android_harness.emulation.jvm import natives_built
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import TaskPackage
from tests.android.tasks import config_of
from tests.shared import exported

ABIS = ("arm64-v8a", "x86_64")
SDK = ANDROID / "sdk" / "src" / "main" / "AndroidManifest.xml"
APP = ANDROID / "app" / "src" / "main" / "AndroidManifest.xml"

needs_natives = pytest.mark.skipif(
    not natives_built(), reason="Android's binaries are not built: make android"
)
needs_gcc = pytest.mark.skipif(
    shutil.which("gcc") is None, reason="no gcc to make a wrong library with"
)


def libraries(abi: str) -> list[Path]:
    return sorted((NATIVES / "jni" / abi).glob("*.so"))


def compiled(directory: Path, code: str, *flags: str) -> Path:
    """A shared library."""
    library = directory / "libwrong.so"
    (directory / "wrong.c").write_text(code)
    command = ["gcc", "-shared", "-fPIC", "-o", str(library), str(directory / "wrong.c"), *flags]
    subprocess.run(command, check=True, capture_output=True)
    return library


@needs_natives
@pytest.mark.parametrize("abi", ABIS)
def test_the_shipped_libraries_load_on_every_phone_that_is_promised(abi: str) -> None:
    assert "libexecutorch.so" in {library.name for library in libraries(abi)}
    assert unmet_imports(libraries(abi), MIN_API) == []
    assert misaligned_segments(libraries(abi)) == []


@needs_natives
@pytest.mark.parametrize("abi", ABIS)
def test_what_an_older_android_lacks_is_named(abi: str) -> None:
    assert unmet_imports(libraries(abi), 23) == [
        "libexecutorch.so: __write_chk@LIBC_N is not in API 23"
    ]
    alone = [library for library in libraries(abi) if library.name != "libfbjni.so"]
    assert "libexecutorch.so needs libfbjni.so" in unmet_imports(alone, MIN_API)


@needs_gcc
def test_a_library_with_an_unknown_import_and_small_pages_is_found(tmp_path: Path) -> None:
    code = "int nowhere(void); int call(void) { return nowhere(); }"
    wrong = compiled(tmp_path, code, "-nostdlib", "-Wl,-z,max-page-size=4096")
    assert unmet_imports([wrong], MIN_API) == ["libwrong.so: nowhere is in no library"]
    found = misaligned_segments([wrong])
    assert found
    assert set(found) == {"libwrong.so: segment aligned to 4096 bytes"}

    right = compiled(
        tmp_path, "int call(void) { return 1; }", "-nostdlib", f"-Wl,-z,max-page-size={PAGE_BYTES}"
    )
    assert unmet_imports([right], MIN_API) == []
    assert misaligned_segments([right]) == []


@needs_gcc
def test_a_library_of_this_machine_is_none_of_androids(tmp_path: Path) -> None:
    code = '#include <stdio.h>\nint call(void) { return puts("hello"); }'
    found = unmet_imports([compiled(tmp_path, code)], TARGET_API)
    assert any("puts@GLIBC_" in fault for fault in found)
    assert "libwrong.so needs libc.so.6" in found


def test_what_is_no_library_is_said(tmp_path: Path) -> None:
    path = tmp_path / "libtext.so"
    path.write_text("no library")
    with pytest.raises(FedvoiceError) as caught:
        elf.symbols(path)
    assert caught.value.code is ErrorCode.BAD_PACKAGE


@pytest.mark.parametrize("manifest", [SDK, APP], ids=["sdk", "app"])
def test_the_manifests_ask_for_no_more_than_they_must(manifest: Path) -> None:
    assert manifest_faults(manifest, TARGET_API) == []


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        (
            "android.permission.RECORD_AUDIO",
            "android.permission.READ_CONTACTS",
            "permission android.permission.READ_CONTACTS is on no list of reasons",
        ),
        (
            'android:usesCleartextTraffic="false"',
            'android:usesCleartextTraffic="true"',
            "cleartext traffic is allowed",
        ),
        (
            'android:allowBackup="false"',
            'android:allowBackup="true"',
            "backups would carry speech off the phone",
        ),
        (
            'android:permission="android.permission.DUMP"',
            "",
            "org.fedvoice.sdk.DeployReceiver is exported and nothing guards it",
        ),
        (
            'android:exported="true"\n            android:permission="android.permission.DUMP"',
            "",
            "org.fedvoice.sdk.DeployReceiver has an intent filter and does not say whether it is "
            "exported",
        ),
    ],
)
def test_a_manifest_that_opens_a_door_is_found(
    tmp_path: Path, before: str, after: str, fault: str
) -> None:
    text = APP.read_text()
    assert before in text
    wrong = tmp_path / "AndroidManifest.xml"
    wrong.write_text(text.replace(before, after))
    assert manifest_faults(wrong, TARGET_API) == [fault]


def write_apk(path: Path, *, compress: bool = False, offset: int = 0, dex: bool = True) -> Path:
    """An APK with one library, which begins `offset` bytes after a page does."""
    with zipfile.ZipFile(path, "w") as apk:
        for name in ("AndroidManifest.xml", "resources.arsc", *(["classes.dex"] if dex else [])):
            apk.writestr(name, b"something")
        library = zipfile.ZipInfo("lib/arm64-v8a/libexecutorch.so")
        library.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        header_bytes = 30 + len(library.filename)
        # As zipalign does: the extra field is filled up. A field has its own head of 4 bytes.
        fill_bytes = (offset - apk.fp.tell() - header_bytes - 4) % PAGE_BYTES  # type: ignore[union-attr]
        library.extra = b"\x35\xd9" + fill_bytes.to_bytes(2, "little") + bytes(fill_bytes)
        apk.writestr(library, bytes(5000))
    return path


def test_an_apk_whose_libraries_cannot_be_mapped_is_found(tmp_path: Path) -> None:
    name = "lib/arm64-v8a/libexecutorch.so"
    right, packed = tmp_path / "right.apk", write_apk(tmp_path / "zip.apk", compress=True)
    assert apk_faults(write_apk(right), extracted=False) == []
    (found,) = apk_faults(write_apk(tmp_path / "4k.apk", offset=4096), extracted=False)
    assert found.startswith(f"{name} starts at ")
    assert apk_faults(packed, extracted=False) == [f"{name} is compressed"]
    # Those that are extracted may lie in the file as they like.
    assert apk_faults(packed, extracted=True) == []
    empty = write_apk(tmp_path / "empty.apk", dex=False)
    assert apk_faults(empty, extracted=True) == ["no classes.dex in the APK"]


@pytest.fixture(scope="module")
def rnnt(tmp_path_factory: pytest.TempPathFactory) -> TaskPackage:
    """The demo's kind of task, smaller."""
    return exported(config_of("rnnt"), tmp_path_factory).package


@needs_natives
@pytest.mark.parametrize("abi", ABIS)
def test_the_binary_has_every_operator_of_a_task(
    rnnt: TaskPackage, task: TaskPackage, abi: str
) -> None:
    runtime = (NATIVES / "jni" / abi / "libexecutorch.so").read_bytes()
    for package in (rnnt, task):
        names = [*package.manifest.operators, *package.manifest.delegates]
        assert len(names) > 10
        assert unregistered_operators(names, runtime) == []
    invented = ["aten::invented.out", "aten::mul.ou", "NoBackend"]
    assert unregistered_operators(invented, runtime) == sorted(invented)


def test_an_app_needs_room_for_its_file_twice_and_for_its_libraries(tmp_path: Path) -> None:
    app = write_apk(tmp_path / "zip.apk", compress=True)
    needed = 2 * app.stat().st_size + 5000
    for free_bytes in (needed - 1, needed):
        facts = fitness.DeviceFacts("a phone", TARGET_API, ("arm64-v8a",), free_bytes)
        if free_bytes < needed:
            with pytest.raises(FedvoiceError, match="the app needs"):
                fitness.check(facts, "one", app, None, installed=False)
            assert fitness.check(facts, "one", app, None, installed=True) == "arm64-v8a"
        else:
            assert fitness.check(facts, "one", app, None, installed=False) == "arm64-v8a"


@needs_natives
def test_a_phone_is_not_given_a_task_that_its_runtime_cannot_run(
    task: TaskPackage, tmp_path: Path
) -> None:
    app = tmp_path / "app.apk"
    with zipfile.ZipFile(app, "w") as apk:
        library = "arm64-v8a/libexecutorch.so"
        apk.write(NATIVES / "jni" / library, f"lib/{library}")
    facts = fitness.DeviceFacts("a phone", TARGET_API, ("arm64-v8a",), 1 << 40)
    assert fitness.check(facts, "one", app, task.manifest, installed=False) == "arm64-v8a"
    operators = (*task.manifest.operators, "aten::invented.out")
    strange = task.manifest.model_copy(update={"operators": operators})
    with pytest.raises(FedvoiceError, match=r"a runtime without aten::invented\.out") as caught:
        fitness.check(facts, "one", app, strange, installed=False)
    assert caught.value.code is ErrorCode.DEVICE_UNFIT

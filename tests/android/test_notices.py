"""Every library and binary that is shipped is named, with its licence and where it comes from."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import pytest

from fedvoice.android_harness.aar.libraries import licence_of, read_libraries, sha256_of
from fedvoice.android_harness.aar.notices import LIBRARIES, PAGE, components, page_text
from fedvoice.android_harness.apk.build import APK
from fedvoice.android_harness.emulation.jars import ANDROID
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from tests.android.test_aar import HOST_APK, files_in, needs_aar, needs_host_app, runtime, sdk

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
<licenses>{}</licenses></project>"""

needs_apk = pytest.mark.skipif(not APK.is_file(), reason="no APK: make apk")


def named() -> set[str]:
    """Digests on the page."""
    return set(re.findall(r"`([0-9a-f]{64})`", PAGE.read_text()))


def natives(path: Path) -> dict[str, str]:
    """Digests of the native libraries in an archive, whatever they are called."""
    return {
        name: hashlib.sha256(data).hexdigest()
        for name, data in files_in(path).items()
        if data[:4] == b"\x7fELF"
    }


@needs_aar
def test_the_page_is_what_the_build_resolved() -> None:
    assert PAGE.read_text() == page_text(components(read_libraries(LIBRARIES))), (
        "write it anew: python -m fedvoice.android_harness.aar.notices --write"
    )


@needs_aar
def test_each_binary_of_the_artifacts_is_named() -> None:
    assert natives(sdk()) == {}
    found = natives(runtime())
    assert {name.rpartition("/")[2] for name in found} == {"libexecutorch.so"}
    assert set(found.values()) <= named()
    assert hashlib.sha256(files_in(runtime())["classes.jar"]).hexdigest() in named()
    notices = files_in(runtime())["assets/fedvoice_runtime_notices.txt"].decode()
    assert all(digest in notices for digest in found.values())
    assert "Redistribution and use in source and binary forms" in notices


@needs_apk
def test_each_binary_of_the_app_is_named() -> None:
    found = natives(APK)
    assert {name.split("/")[1] for name in found} == {"arm64-v8a", "x86_64"}
    assert {name for name, digest in found.items() if digest not in named()} == set()
    notices = files_in(APK)["assets/fedvoice_notices.txt"].decode()
    assert all(digest in notices for digest in found.values())
    # The dex is what R8 made of these jars; ours are the ones that were built here.
    jars = (ANDROID / "app" / "target" / "lib").glob("*.jar")
    ours = re.compile(r"(wire|core|transport|engine|sdk)-[\d.]+\.jar")
    others = {jar.name: sha256_of(jar) for jar in jars if not ours.fullmatch(jar.name)}
    assert len(others) > 10
    # ExecuTorch's classes carry the name that the build gives them; their bytes are on the page.
    assert {name for name, digest in others.items() if digest not in named()} == set()


@needs_host_app
def test_a_host_app_gets_the_notices_with_the_library() -> None:
    texts = {n: d for n, d in files_in(HOST_APK).items() if n.startswith("assets/fedvoice")}
    together = b"".join(texts.values()).decode()
    assert {n for n, digest in natives(HOST_APK).items() if digest not in together} == set()


def test_a_licence_that_nobody_has_looked_at_stops_the_build(tmp_path: Path) -> None:
    pom = tmp_path / "some.pom"
    pom.write_text(POM.format("<license><name>Apache License, Version 2.0</name></license>"))
    assert licence_of(pom, tmp_path) == "Apache-2.0"
    for licences in ("", "<license><name>Business Source License 1.1</name></license>"):
        pom.write_text(POM.format(licences))
        with pytest.raises(FedvoiceError, match=r"some\.pom") as caught:
            licence_of(pom, tmp_path)
        assert caught.value.code is ErrorCode.BAD_PACKAGE


def test_a_licence_may_stand_in_the_parents_pom(tmp_path: Path) -> None:
    above = tmp_path / "org/example/parent/1/parent-1.pom"
    above.parent.mkdir(parents=True)
    above.write_text(POM.format("<license><name>The MIT License</name></license>"))
    pom = tmp_path / "child.pom"
    pom.write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><parent><groupId>org.example</groupId>'
        "<artifactId>parent</artifactId><version>1</version></parent></project>"
    )
    assert licence_of(pom, tmp_path) == "MIT"


def test_an_archive_with_an_unknown_binary_is_found(tmp_path: Path) -> None:
    path = tmp_path / "app.apk"
    with zipfile.ZipFile(path, "w") as apk:
        apk.writestr("assets/model.bin", b"\x7fELF and more")
    assert [digest for digest in natives(path).values() if digest in named()] == []
    assert len(natives(path)) == 1

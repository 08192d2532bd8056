"""What the Kotlin phone's benchmarks say without a clock: heap, growth, agreement, sizes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from benchmarks.android_artifact import apk_bytes_of_abis
from benchmarks.android_phone import measure
from tests.android.jvm import needs_phone
from tests.android.test_notices import APK, needs_apk

VECTOR_BYTES = 9_400_000


@pytest.mark.slow
@needs_phone
def test_training_fits_in_48_megabytes_of_heap_and_does_not_grow(tmp_path: Path) -> None:
    result, _ = measure(tmp_path, steps=40)
    assert 0 < result["heap_bytes"] <= 48_000_000
    # Forty steps that each leave a vector behind would show; so would a single one.
    assert result["growth_bytes"] < VECTOR_BYTES
    assert result["update_error"] <= 1e-4


def test_an_abi_counts_its_own_libraries_and_what_all_share(tmp_path: Path) -> None:
    apk = tmp_path / "app.apk"
    with zipfile.ZipFile(apk, "w") as archive:
        archive.writestr("classes.dex", bytes(1000))
        archive.writestr("lib/arm64-v8a/liba.so", bytes(300))
        archive.writestr("lib/x86_64/liba.so", bytes(500))
    found = apk_bytes_of_abis(apk, installed=False)
    assert found["x86_64"] - found["arm64-v8a"] == 200
    assert found["x86_64"] + 300 == apk.stat().st_size
    assert apk_bytes_of_abis(apk, installed=True)["x86_64"] == found["x86_64"] + 500


@needs_apk
def test_the_apps_file_has_no_more_than_25_megabytes_for_an_abi() -> None:
    found = apk_bytes_of_abis(APK, installed=False)
    assert set(found) == {"arm64-v8a", "x86_64"}
    assert max(found.values()) <= 25_000_000

"""What the Kotlin phone's benchmark says without a clock: heap, growth, agreement."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.android_phone import measure
from tests.android.jvm import needs_phone

VECTOR_BYTES = 9_400_000


@pytest.mark.slow
@needs_phone
def test_training_fits_in_48_megabytes_of_heap_and_does_not_grow(tmp_path: Path) -> None:
    result, _ = measure(tmp_path, steps=40)
    assert 0 < result["heap_bytes"] <= 48_000_000
    # Forty steps that each leave a vector behind would show; so would a single one.
    assert result["growth_bytes"] < VECTOR_BYTES
    assert result["update_error"] <= 1e-4

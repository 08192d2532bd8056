"""Both kinds of phone resample alike: to soxr's samples (Kotlin: `ResamplingTest`)."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fedvoice.data.audio import samples_at
from tests.android.resampling_vectors import FILE, PAIRS, SECS, vectors


def test_the_vectors_are_what_soxr_gives() -> None:
    kept = json.loads(FILE.read_text())
    assert [(v["rate"], v["wanted"]) for v in kept] == PAIRS
    for old, new in zip(kept, vectors(), strict=True):
        np.testing.assert_allclose(old["samples"], new["samples"], atol=2e-6)


@pytest.mark.parametrize(("rate", "wanted"), PAIRS)
def test_the_number_of_samples_is_known_before(rate: int, wanted: int) -> None:
    import soxr

    for samples in (0, 1, 999, int(rate * SECS)):
        found = soxr.resample(np.zeros(samples, dtype=np.float32), rate, wanted, quality="HQ")
        assert samples_at(samples, rate, wanted) == found.size

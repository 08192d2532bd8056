"""What soxr makes of a few tones at other rates: what the Kotlin phone's resampler is held to.

    python -m tests.android.resampling_vectors

writes `core/src/test/resources/resampling.json`, which `ResamplingTest` reads. Where soxr's new
version gives other values, `test_resampling.py` says so.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fedvoice.data.audio import resampled
from fedvoice.protocol.parameters import Float32Array

FILE = (
    Path(__file__).resolve().parents[2]
    / "android_harness/android/core/src/test/resources/resampling.json"
)
PAIRS = [
    *((rate, 16000) for rate in (8000, 11025, 22050, 32000, 44100, 47999, 48000, 96000, 192000)),
    (16000, 8000),
    (48000, 44100),
]
SECS = 0.04


def tones(rate: int, wanted: int) -> Float32Array:
    """Tones at 0.1, 0.4 and 0.8 of half the lower rate, and where there is room one at 1.2, which
    must vanish; faded in and out, so that no filter's edge is heard."""
    n = np.arange(int(rate * SECS))
    lower = min(rate, wanted)
    parts = [0.05, 0.2, 0.4] + ([0.6] if 0.6 * lower < 0.5 * rate else [])
    sound = sum(0.2 * np.sin(2 * np.pi * part * lower * n / rate) for part in parts)
    return np.asarray(sound * np.sin(np.pi * (n + 0.5) / n.size) ** 2, dtype=np.float32)


def vectors() -> list[dict[str, object]]:
    """rate, wanted, and soxr's samples."""
    found = []
    for rate, wanted in PAIRS:
        samples = resampled(tones(rate, wanted), rate, wanted, "the vectors")
        values = [round(float(x), 6) for x in samples]
        found.append({"rate": rate, "wanted": wanted, "samples": values})
    return found


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(vector, separators=(",", ":")) for vector in vectors())
    FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")

"""Model kinds: one object each, read without a runtime, named nowhere else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedvoice.model_export.kinds import MODEL_KINDS, kind_named

ROOT = Path(__file__).resolve().parents[2]
SETTLED = {"model_export/kinds", "protocol/task.py"}
"""Where a kind may be named: its own file and the door, and what manifests of 0.1.0 leave out."""


def test_kinds_and_their_settings_are_read_without_torch() -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from fedvoice.model_export.kinds import from_settings, kind_named, MODEL_KINDS\n"
        "for name in MODEL_KINDS.names():\n"
        "    assert from_settings(name, {}).kind == name\n"
        "    kind = kind_named(name)\n"
        "    kind.check_bucket(4, 2), kind.bucket_frames(23), kind.takes_audio, kind.scoring"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.parametrize("room", ["model_export", "simulation", "device_runtime", "protocol"])
def test_nothing_but_the_kind_itself_goes_by_the_kinds_name(room: str) -> None:
    names = "|".join(map(re.escape, MODEL_KINDS.built_in))
    wrong = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / room).rglob("*.py"))
        if not any(str(path.relative_to(ROOT)).startswith(place) for place in SETTLED)
        for line in path.read_text().splitlines()
        if re.search(rf'["\']({names})["\']', line)
    ]
    assert not wrong


def test_every_kind_answers_for_its_buckets() -> None:
    assert kind_named("rnnt").bucket_frames(23) == 24
    assert kind_named("ctc").bucket_frames(23) == 23
    with pytest.raises(ValueError, match="speech needs at least 2"):
        kind_named("ctc").check_bucket(1, 1)
    with pytest.raises(ValueError, match="needs a frame of its own"):
        kind_named("cnn").check_bucket(1, 2)

"""Ask the Kotlin phone: one JVM process answers a list of questions (desktop's `conform`)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fedvoice.android_harness.emulation.jvm import find_phone, why_not
from fedvoice.protocol.engine import Example
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import TaskPackage

ANSWER_SECS = 180

needs_phone = pytest.mark.skipif(bool(why_not()), reason="; ".join(why_not()))


@dataclass(frozen=True)
class Answers:
    """What came back: facts by question, and files."""

    directory: Path
    facts: dict[str, Any]

    def floats(self, question: str, what: str) -> npt.NDArray[np.float32]:
        return np.fromfile(self.path(question, what), dtype="<f4")

    def words(self, question: str, what: str) -> npt.NDArray[np.uint32]:
        return np.fromfile(self.path(question, what), dtype="<u4")

    def bytes_of(self, question: str, what: str) -> bytes:
        return self.path(question, what).read_bytes()

    def path(self, question: str, what: str) -> Path:
        return self.directory / f"{question}.{what}.bin"


def ask(directory: Path, questions: Sequence[dict[str, Any]]) -> Answers:
    """Run the phone on these questions; every one is answered or the test fails."""
    directory.mkdir(parents=True, exist_ok=True)
    job = directory / "job.json"
    job.write_text(json.dumps({"out": str(directory), "questions": list(questions)}))
    phone = find_phone()
    done = subprocess.run(
        phone.command("conform", str(job)),
        env=phone.environment(),
        capture_output=True,
        text=True,
        timeout=ANSWER_SECS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Answers(directory, json.loads((directory / "answers.json").read_text()))


def training_job(
    directory: Path,
    package: TaskPackage,
    plan: TrainingPlan,
    weights: FlatVector,
    examples: Sequence[Example] | Sequence[tuple[npt.NDArray[np.float32], int, str]],
    *,
    client_id: str,
    round_number: int,
) -> dict[str, Any]:
    """A job on disk; examples are ready ones or (waveform, sample rate, transcript)."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "plan.bin").write_bytes(plan.to_message().SerializeToString())
    weights.astype("<f4").tofile(directory / "weights.bin")
    files: list[dict[str, Any]] = []
    for i, example in enumerate(examples):
        path = str(directory / f"example-{i}.bin")
        if isinstance(example, Example):
            example.features.astype("<f4").tofile(path)
            files.append({"features": path, "targets": list(example.targets)})
        else:
            waveform, rate, transcript = example
            waveform.astype("<f4").tofile(path)
            files.append({"waveform": path, "sample_rate": rate, "transcript": transcript})
    return {
        "task": str(package.directory),
        "plan": str(directory / "plan.bin"),
        "weights": str(directory / "weights.bin"),
        "examples": files,
        "client_id": client_id,
        "round": round_number,
    }

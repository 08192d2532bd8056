"""Speech for a tiny task, and the Kotlin phone as a process."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from fedvoice.android_harness.emulation.jvm import find_phone
from fedvoice.protocol.utterances import Utterance, write_manifest
from tests.android.tasks import WORDS

END_SECS = 120


def record(folder: Path, train: int = 4, test: int = 2) -> Path:
    """A manifest of seeded noise; PCM16 wav, which both kinds of phone read."""
    folder.mkdir(parents=True)
    utterances = []
    for i in range(train + test):
        path = folder / f"{i}.wav"
        sound = np.random.default_rng(i).normal(size=4000 + 100 * i) * 0.1
        soundfile.write(path, sound, 16000, subtype="PCM_16")
        split = "train" if i < train else "test"
        utterances.append(Utterance(path, WORDS[i % 2], sound.size / 16000, "anna", split))
    write_manifest(folder / "manifest.jsonl", utterances)
    return folder / "manifest.jsonl"


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Kotlin phone's process; killed at the end if it is still there."""
    phone = find_phone()
    with subprocess.Popen(
        phone.command(*map(str, arguments)),
        env=phone.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end: exit code and what it logged."""
    _, errors = process.communicate(timeout=END_SECS)
    return process.returncode, errors


def run_phone(*arguments: object) -> tuple[int, str]:
    """Run a Kotlin phone to its end."""
    with started(*arguments) as process:
        return finished(process)


def killed(process: subprocess.Popen[str]) -> None:
    """End a process as `kill -9` does, and see that it is gone."""
    process.send_signal(signal.SIGKILL)
    process.wait(END_SECS)


def log_lines(log: str) -> Sequence[str]:
    """What was logged, without times and without the runtime's own lines."""
    marks = (" INFO ", " WARNING ", " ERROR ")
    return [line.split(mark, 1)[1] for line in log.splitlines() for mark in marks if mark in line]

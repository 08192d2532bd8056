"""Both kinds of phones on a bad line: one round of training each.

    python -m benchmarks.bad_lines --mb 10 --json

The line has 1 Mbit/s, 300 ms there and back, stalls like those of 2% lost packets, and breaks every
30 s (`android_harness/emulation/proxy.py`). The phone fetches program and weights, trains a little,
and sends its update. `again` is what went over the line, everything counted, in units of what had
to, minus one. With --mb 1 --kbits-per-sec 100 --lease-secs 150 a phone is told at its second
check-in that its line is too slow. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from fedvoice.android_harness.emulation.jvm import find_phone
from fedvoice.android_harness.emulation.proxy import FaultProxy, bad_mobile_line
from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
from fedvoice.model_export.kinds.ctc import CtcConfig
from fedvoice.model_export.kinds.encoder import EncoderConfig
from fedvoice.model_export.package import export_task
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import FeatureSettings, TaskPackage
from fedvoice.protocol.utterances import Utterance, write_manifest

KINDS = ("python", "kotlin")
WORDS = ("no", "yes")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=float, default=10.0, help="of the model, and of an update")
    parser.add_argument("--kbits-per-sec", type=float, default=1000.0)
    parser.add_argument("--cut-secs", type=float, default=30.0)
    parser.add_argument("--lease-secs", type=float, default=7200.0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--longest-secs", type=float, default=3600.0, help="of one phone")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    options = parser.parse_args()
    result: dict[str, float | bool] = {"mb": options.mb, "kbits_per_sec": options.kbits_per_sec}
    with tempfile.TemporaryDirectory() as directory:
        package = export(Path(directory) / "task", options.mb)
        corpus = make_corpus(Path(directory) / "corpus")
        for kind in options.kinds:
            measured = measure(Path(directory) / kind, kind, package, corpus, options)
            result |= {f"{kind}_{name}": value for name, value in measured.items()}
    print(json.dumps(result))


def export(directory: Path, megabytes: float) -> TaskPackage:
    """A CTC task of about so many megabytes."""
    config = ExportConfig(
        name="bad-lines",
        # Two directions, four gates of hidden x hidden floats each.
        model=CtcConfig(
            encoder=EncoderConfig(
                layers=1, hidden_size=int(math.sqrt(megabytes * 1e6 / 4 / 8)), bidirectional=True
            )
        ),
        features=FeatureSettings(mel_bins=6, stack=2, max_secs=1.0),
        vocabulary=VocabularyConfig(tokens=WORDS),
        buckets=(BucketConfig(frames=16, labels=2, batch=2),),
        plan=TrainingPlan(batch_size=2, local_epochs=1, client_rate=0.05, clip_norm=1.0),
    )
    return export_task(config, directory).package


def make_corpus(directory: Path) -> Path:
    """Four utterances of noise."""
    directory.mkdir()
    utterances = []
    for i in range(4):
        path = directory / f"{i}.wav"
        soundfile.write(path, np.random.default_rng(i).normal(size=2000) * 0.1, 16000)
        utterances.append(Utterance(path, WORDS[i % 2], 0.125, "anna", "train"))
    write_manifest(directory / "manifest.jsonl", utterances)
    return directory


def measure(
    directory: Path, kind: str, package: TaskPackage, corpus: Path, options: argparse.Namespace
) -> dict[str, float | bool]:
    """One phone's round, or what it is told instead."""
    directory.mkdir()
    link = replace(
        bad_mobile_line(secs_per_cut=options.cut_secs),
        bytes_per_sec=options.kbits_per_sec * 1000 / 8,
    )
    update_bytes = 4 * package.manifest.parameters.total_size
    fetched_bytes = update_bytes + package.program_path.stat().st_size
    with (
        serving(directory, package, options.lease_secs) as address,
        FaultProxy(address, link) as line,
        (directory / "log").open("w") as log,
    ):
        began = time.monotonic()
        command, environment = phone_command(kind, directory / "state", line.address, corpus)
        phone = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            while phone.poll() is None and "line-too-slow" not in text_of(directory / "log"):
                if time.monotonic() - began > options.longest_secs:
                    break
                time.sleep(0.2)
        finally:
            phone.terminate()
            phone.wait(60)
        secs, counts = time.monotonic() - began, line.counts
    said = text_of(directory / "log")
    print(said, file=sys.stderr)
    trained = re.search(r"trained; .*?(\d+) bytes up, (\d+) down", said)
    return {
        "finished": trained is not None,
        "told": "line-too-slow" in said,
        "secs": round(secs, 1),
        "cuts": counts.cuts,
        "up_again": again(counts.bytes_up, update_bytes),
        "down_again": again(counts.bytes_down, fetched_bytes),
    }


def again(passed_bytes: int, wanted_bytes: int) -> float:
    """What went over the line beyond what had to; 0 for a phone that did not get so far."""
    return round(max(0.0, passed_bytes / wanted_bytes - 1), 4)


def text_of(path: Path) -> str:
    """What a phone has said so far."""
    return path.read_text(errors="replace")


def phone_command(
    kind: str, state: Path, server: str, corpus: Path
) -> tuple[list[str], dict[str, str]]:
    """How to start a phone that runs until the server has finished."""
    words = ["--server", server, "--state", str(state), "--data", str(corpus)]
    if kind == "python":
        return [sys.executable, "-m", "fedvoice", "device", *words], dict(os.environ)
    phone = find_phone()
    return phone.command("run", *words), phone.environment()


@contextmanager
def serving(directory: Path, package: TaskPackage, lease_secs: float) -> Iterator[str]:
    """`fedvoice serve` for one round of one phone; its address."""
    (directory / "server.toml").write_text(
        f"rounds = 1\ncohort_size = 1\nlease_secs = {lease_secs}\n"
        f"round_timeout_secs = {10 * lease_secs}\n[retry]\nleast_secs = 0.5\nmost_secs = 2\n"
    )
    command = [sys.executable, "-m", "fedvoice", "serve", "--insecure", "--bind", "127.0.0.1:0"]
    command += ["--task", str(package.directory), "--store", str(directory / "store")]
    command += ["--config", str(directory / "server.toml"), "--linger-secs", "60"]
    command += ["--ready-file", str(directory / "ready")]
    with (
        (directory / "server.log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as server,
    ):
        try:
            while not (directory / "ready").exists():
                if server.poll() is not None:
                    raise SystemExit("the server did not start")
                time.sleep(0.05)
            yield (directory / "ready").read_text().strip()
        finally:
            server.terminate()


if __name__ == "__main__":
    main()

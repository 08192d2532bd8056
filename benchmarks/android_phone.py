"""The Kotlin phone on Android's ExecuTorch binary against the Python phone.

    python -m benchmarks.android_phone --json

Both phones train one client's round of the same task (rnnt-2m of `benchmarks.train_step`) with
the same plan: FVN, SpecAugment, momentum, clipping. Each is a process of its own with one thread
that takes its steps on command; they alternate block by block, so that other load on the machine
affects both.

    step_ratio    median over the blocks of (Kotlin / Python) processor time of a block's steps.
                  Whole training steps (batch, noise, gradient, clipping, momentum, update), whole
                  processes (garbage collection and what the JVM's compilers still do after the
                  warm-up included); processor time, because on a shared machine wall time says
                  little about one thread. The ratio of wall times is printed beside it.
    heap_bytes    the JVM's used heap after garbage collection in mid-training, minus one vector of
                  the model's size (the weights); the largest of three readings. The program is
                  mapped, not on the heap. It holds the initial weights, the gradient, the
                  momentum, the table of normals, batches, examples, classes.
    growth_bytes  resident set after the last of the measured steps minus that after the warm-up,
                  both after garbage collection. The warm-up is long: the JVM's compilers, which no
                  phone has, work for some 600 steps, and malloc keeps what they free (6 MB).
    update_error  |Kotlin delta - Python delta| / |Python delta| of a short round of its own.

`aar_bytes`, `apk_bytes` and `start_ms` are those of `benchmarks.android_artifact`. All times are of
a JVM on this machine, none is a phone's.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import android_artifact
from benchmarks.train_step import FEATURES, MODELS
from fedvoice.android_harness.emulation.jvm import find_phone
from fedvoice.protocol.engine import Example
from fedvoice.protocol.plan import SpecAugment, TrainingPlan
from fedvoice.protocol.task import TaskPackage, load_package

WARM_UP_STEPS = 12
COMPILING_STEPS = 700
"""After these the JVM's compilers have little left to do."""
BLOCK_STEPS = 4
SHORT_STEPS = 8
ANSWER_SECS = 600
CLIENT, ROUND = "bench", 1
EXAMPLES = 96
"""8.7 MB of features: what the phone's cache holds."""
PLAN = TrainingPlan(
    batch_size=8,
    client_rate=0.05,
    client_momentum=0.5,
    fvn_std=0.01,
    spec_augment=SpecAugment(time_masks=1, time_mask_frames=20),
    seed=1,
)

app = typer.Typer(add_completion=False)


@app.command()
def main(
    steps: Annotated[int, typer.Option(min=BLOCK_STEPS, help="Measured steps a side.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="The object on the last line.")] = False,
    python_phone: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure step time (processor time of whole processes), heap, growth and agreement."""
    if python_phone:
        run_python_phone(Path(python_phone))
        return
    result, details = android_artifact.measure()
    with tempfile.TemporaryDirectory() as directory:
        measured, further = measure(Path(directory), steps, COMPILING_STEPS)
    result = {**measured, **result}
    details = {**further, **details}
    for name, value in details.items():
        print(f"{name}: {value}", file=sys.stderr if as_json else sys.stdout)
    print(json.dumps(result) if as_json else json.dumps(result, indent=1))


def measure(
    directory: Path, steps: int, kotlin_warm_up_steps: int = WARM_UP_STEPS
) -> tuple[dict[str, float], dict[str, Any]]:
    """The four numbers, and further measurements."""
    package = export(directory / "task")
    examples = make_examples(package)
    blocks = -(-steps // BLOCK_STEPS)
    wanted = kotlin_warm_up_steps + blocks * BLOCK_STEPS
    steps_an_epoch = EXAMPLES // PLAN.batch_size
    long = PLAN.model_copy(update={"local_epochs": -(-wanted // steps_an_epoch) + 1})
    job = write_job(directory / "long", package, long, examples)
    cpu: dict[str, list[float]] = {"kotlin": [], "python": []}
    wall: dict[str, list[float]] = {"kotlin": [], "python": []}
    looks = []
    with Phone("kotlin", job) as kotlin, Phone("python", job) as python:
        phones = (kotlin, python)
        kotlin.tell(f"go {kotlin_warm_up_steps}")
        python.tell(f"go {WARM_UP_STEPS}")
        looks.append(kotlin.tell("memory"))
        for block in range(blocks):
            for phone in phones if block % 2 else reversed(phones):
                took = phone.tell(f"go {BLOCK_STEPS}")
                cpu[phone.name].append(took["cpu_secs"] / BLOCK_STEPS)
                wall[phone.name].append(took["wall_secs"] / BLOCK_STEPS)
            if block == blocks // 2:
                looks.append(kotlin.tell("memory"))
        looks.append(kotlin.tell("memory"))
    heap_bytes = max(look["heap_bytes"] for look in looks)
    result = {
        "step_ratio": round(median_ratio(cpu), 4),
        "heap_bytes": heap_bytes - package.manifest.parameters.weights_bytes,
        "growth_bytes": looks[-1]["resident_bytes"] - looks[0]["resident_bytes"],
        "update_error": update_error(directory / "short", package, examples),
    }
    details = {
        "wall ratio": round(median_ratio(wall), 4),
        "cpu ms": {name: round(1e3 * statistics.median(t), 1) for name, t in cpu.items()},
        "wall ms": {name: round(1e3 * statistics.median(t), 1) for name, t in wall.items()},
        "looks": looks,
    }
    return result, details


def median_ratio(times: dict[str, list[float]]) -> float:
    """Ratio of neighbouring blocks, so that slow phases of the machine affect both sides."""
    return statistics.median(k / p for k, p in zip(times["kotlin"], times["python"], strict=True))


def update_error(directory: Path, package: TaskPackage, examples: list[Example]) -> float:
    """Both phones' deltas of the same short round, compared."""
    limit = SHORT_STEPS // 2 * PLAN.batch_size
    plan = PLAN.model_copy(update={"local_epochs": 2, "data_limit": limit})
    job = write_job(directory, package, plan, examples)
    deltas = {}
    for name in ("kotlin", "python"):
        with Phone(name, job) as phone:
            phone.tell("go 1000000")
            phone.answer()
        deltas[name] = np.fromfile(phone.delta, dtype="<f4")
    gap = np.linalg.norm(deltas["kotlin"] - deltas["python"])
    return float(gap / np.linalg.norm(deltas["python"]))


class Phone:
    """One side: a process that trains at the pace of its standard input."""

    def __init__(self, name: str, job: Path) -> None:
        self.name = name
        self.delta = job.with_name(f"{name}.delta")
        if name == "kotlin":
            phone = find_phone()
            command = phone.command("bench", str(job), str(self.delta))
            environment = phone.environment()
        else:
            command = [sys.executable, "-m", "benchmarks.android_phone", "--python-phone", str(job)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Phone:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(ANSWER_SECS)
        finally:
            self._process.kill()

    def tell(self, line: str) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Wait for the next answer."""
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the {self.name} phone ended: its messages are above")
        found: dict[str, Any] = json.loads(answer)
        return found


def export(directory: Path) -> TaskPackage:
    """The package of `rnnt-2m`."""
    from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
    from fedvoice.model_export.package import export_task

    model, vocabulary, bucket = MODELS["rnnt-2m"]
    tokens = tuple(f"w{i}" for i in range(vocabulary - 1))
    config = ExportConfig(
        name="rnnt-2m",
        model=model,
        features=FEATURES,
        vocabulary=VocabularyConfig(tokens=tokens, as_given=True),
        buckets=(BucketConfig(frames=bucket.frames, labels=bucket.labels, batch=bucket.batch),),
    )
    return export_task(config, directory).package


def make_examples(package: TaskPackage) -> list[Example]:
    """Ragged utterances that fill the bucket up to its end, seeded."""
    random = np.random.default_rng(1)
    manifest = package.manifest
    bucket, settings = manifest.buckets[0], manifest.features
    limit = bucket.frames * settings.stack
    examples = []
    for _ in range(EXAMPLES):
        frames = int(random.integers(limit // 2, limit + 1))
        features = random.normal(size=(frames, settings.mel_bins)).astype(np.float32)
        length = int(random.integers(bucket.labels // 3, bucket.labels + 1))
        tokens = random.integers(1, manifest.vocabulary.size, size=length)
        examples.append(Example(features, [int(token) for token in tokens]))
    return examples


def write_job(
    directory: Path, package: TaskPackage, plan: TrainingPlan, examples: list[Example]
) -> Path:
    """Files from which either phone starts; see desktop's `TrainingJob`."""
    directory.mkdir(parents=True)
    (directory / "plan.bin").write_bytes(plan.to_message().SerializeToString())
    package.weights().tofile(directory / "weights.bin")
    files = []
    for i, example in enumerate(examples):
        path = directory / f"{i}.bin"
        example.features.tofile(path)
        files.append({"features": str(path), "targets": list(example.targets)})
    fields = {
        "task": str(package.directory),
        "plan": str(directory / "plan.bin"),
        "weights": str(directory / "weights.bin"),
        "examples": files,
        "client_id": CLIENT,
        "round": ROUND,
    }
    job = directory / "job.json"
    job.write_text(json.dumps(fields))
    return job


class Pace:
    """`should_stop` of the Python side: steps are taken on commands from standard input."""

    def __init__(self) -> None:
        self._left = 0
        self._started: tuple[float, float] | None = None

    def __call__(self) -> bool:
        """Wait for permission to take the next step; true: stop."""
        if self._left > 0:
            self._left -= 1
            return False
        self.report()
        words = sys.stdin.readline().split()
        if not words or words[0] != "go":
            return True
        self._left = int(words[1]) - 1
        self._started = (time.perf_counter(), time.process_time())
        return False

    def report(self) -> None:
        """Answer the last command."""
        if self._started is not None:
            wall = time.perf_counter() - self._started[0]
            cpu = time.process_time() - self._started[1]
            print(json.dumps({"wall_secs": wall, "cpu_secs": cpu}), flush=True)
            self._started = None


def run_python_phone(job: Path) -> None:
    """The Python side: the same job at the same pace."""
    from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
    from fedvoice.device_runtime.trainer import train
    from fedvoice.protocol.generated import fedvoice_pb2 as pb

    fields = json.loads(job.read_text())
    package = load_package(Path(fields["task"]))
    bins = package.manifest.features.mel_bins
    examples = [
        Example(np.fromfile(f["features"], dtype="<f4").reshape(-1, bins), f["targets"])
        for f in fields["examples"]
    ]
    pace = Pace()
    result = train(
        ExecuTorchEngine(package, threads=1),
        examples,
        TrainingPlan.from_message(pb.Plan.FromString(Path(fields["plan"]).read_bytes())),
        np.fromfile(fields["weights"], dtype="<f4"),
        client_id=fields["client_id"],
        round_number=fields["round"],
        should_stop=pace,
    )
    if result.delta is not None:
        result.delta.tofile(job.with_name("python.delta"))
    pace.report()
    print(json.dumps({"status": result.status}), flush=True)


if __name__ == "__main__":
    app()

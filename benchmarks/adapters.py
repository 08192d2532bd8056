"""What it costs to train a part of a seed model: everything, all but the encoder, or adapters.

    python -m benchmarks.adapters --json

Real speech of the words corpus: a seed model learns from every second speaker, then
experiments/adapters.toml trains it further on the others' phones, each arm for equally many rounds
on the fast engine; word error rates are of the others' test recordings, means of the seeds. Steps
are timed on the stock ExecuTorch runtime, one thread, medians of interleaved steps of all arms; the
reference of every ratio is the arm `full` of the same run. Finished trials below runs/adapters are
not run again; packages below it are those of the first run.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console

from benchmarks.train_step import CLIP_NORM, RATE, interleaved, set_threads
from fedvoice.laboratory.experiment.config import ExperimentConfig, load_experiment
from fedvoice.laboratory.experiment.progress import trial_dir
from fedvoice.laboratory.experiment.run import trial_task
from fedvoice.laboratory.experiment.runner import run_trials
from fedvoice.laboratory.experiment.summary import Line, summarise
from fedvoice.laboratory.experiment.view import ExperimentView
from fedvoice.model_export.lowering.runtime import LoadedProgram
from fedvoice.protocol.cost import training_memory_bytes
from fedvoice.protocol.engine import make_batch
from fedvoice.protocol.task import WEIGHTS_FILE, Bucket, TaskPackage, load_package
from fedvoice.simulation.populations import build_population

HERE = Path(__file__).resolve().parent.parent
FOLDER = HERE / "runs" / "adapters"
CORPUS = HERE.parent / "shared" / "data" / "words" / "manifest.jsonl"


def main(
    corpus: Annotated[Path, typer.Option(help="Manifest of the words corpus.")] = CORPUS,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... of every arm.")] = 3,
    steps: Annotated[int, typer.Option(min=3, help="Measured steps of each arm.")] = 21,
    jobs: Annotated[int | None, typer.Option(help="Trials at a time.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only a JSON object.")] = False,
) -> None:
    """Measure error rate, cost, step time, upload and memory of each way to train."""
    if not corpus.is_file():
        raise typer.BadParameter(f"{corpus}: no such file", param_hint="--corpus")
    console = Console(stderr=True, quiet=as_json)
    _split_speakers(corpus)
    trials = FOLDER / "trials"
    seed = load_experiment(HERE / "experiments" / "adapters-seed.toml")
    (seed_line,) = _run(seed, trials, jobs, console).values()
    trained = trial_dir(trials, seed_line.outcomes[0].trial) / WEIGHTS_FILE
    shutil.copyfile(trained, FOLDER / "seed.safetensors")
    config = HERE / "experiments" / "adapters.toml"
    experiment = load_experiment(config).narrowed(range(seeds), (), str(config))
    lines = _run(experiment, trials, jobs, console)
    found = [_arm(line, trials) for line in lines.values()]
    for arm, ms in zip(found, _step_ms(lines, trials, steps), strict=True):
        arm["step_ms"] = round(ms, 3)
    full = next(arm for arm in found if arm["name"] == "full")
    for arm in found:
        for name in ("upload_bytes", "training_bytes", "step_ms", "cfmq_bytes"):
            arm[f"{name.rsplit('_', 1)[0]}_ratio"] = round(arm[name] / full[name], 3)
    print(json.dumps({"arms": found, "seeds": seeds}, indent=None if as_json else 1))


def _split_speakers(corpus: Path) -> None:
    """Manifests of every second speaker and of the others, with paths that hold anywhere."""
    rows = [json.loads(line) for line in corpus.read_text(encoding="utf-8").splitlines()]
    speakers = sorted({row["speaker"] for row in rows})
    for name, chosen in (("seed", speakers[::2]), ("phones", speakers[1::2])):
        kept = [
            row | {"audio_filepath": str(corpus.resolve().parent / row["audio_filepath"])}
            for row in rows
            if row["speaker"] in chosen
        ]
        FOLDER.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in kept)
        (FOLDER / f"{name}.jsonl").write_text(text, encoding="utf-8")


def _run(
    experiment: ExperimentConfig, trials: Path, jobs: int | None, console: Console
) -> dict[str, Line]:
    wanted = experiment.trials(experiment.name)
    with ExperimentView(console, len(wanted), experiment.metric) as view:
        gathered = run_trials(wanted, trials, jobs or os.cpu_count() or 1, view)
    for failure in gathered.failures:
        raise failure.error
    return {line.arm: line for line in summarise(gathered.outcomes)}


def _package(line: Line, trials: Path) -> TaskPackage:
    task = trial_task(line.outcomes[0].trial, trials / "tasks", lambda _: None)
    assert task.package_dir is not None
    return load_package(task.package_dir)


def _arm(line: Line, trials: Path) -> dict[str, Any]:
    manifest = _package(line, trials).manifest
    return {
        "name": line.arm,
        "wer": round(line.rates["pooled"][0], 2),
        "wer_spread": round(line.rates["pooled"][1], 2),
        "cfmq_bytes": round(line.communication_bytes + line.computation_bytes),
        "upload_bytes": manifest.parameters.weights_bytes,
        "training_bytes": training_memory_bytes(
            weights_bytes=manifest.parameters.weights_bytes,
            optimizer_state_bytes=0,
            arena_bytes=max(bucket.step_arena_bytes for bucket in manifest.buckets),
            frozen_bytes=manifest.frozen_bytes,
        ),
        "program_bytes": _package(line, trials).program_path.stat().st_size,
        "parameters": manifest.parameters.parameter_count,
    }


def _step_ms(lines: dict[str, Line], trials: Path, steps: int) -> list[float]:
    """Gradient, clipping and SGD on a real batch, each arm with its own program."""
    set_threads(1)
    sides = []
    for line in lines.values():
        package, trial = _package(line, trials), line.outcomes[0].trial
        sides.append(_step(package, package.manifest.buckets[-1], trial))
    return interleaved(sides, steps)


def _step(package: TaskPackage, bucket: Bucket, trial: Any) -> Any:
    manifest, weights = package.manifest, package.weights()
    program = LoadedProgram(package.program_path.read_bytes())
    population = build_population(trial.settings.data, manifest, 0)
    rows = population.train(population.client_ids[0])
    batch = make_batch([rows[i] for i in range(bucket.batch)], bucket, manifest, weight=1 / 8)
    inputs = tuple(
        torch.from_numpy(array)
        for array in (
            batch.features,
            batch.targets,
            batch.frame_counts,
            batch.target_counts,
            batch.example_weights,
        )
    )
    views = tuple(torch.from_numpy(view) for view in manifest.parameters.views(weights))

    def step() -> None:
        gradient = program.run(bucket.step_method, (*views, *inputs))[1].numpy()
        norm = float(np.sqrt(np.dot(gradient, gradient)))
        gradient *= RATE * min(1.0, CLIP_NORM / max(norm, 1e-12))
        np.subtract(weights, gradient, out=weights)

    return step


if __name__ == "__main__":
    sys.exit(typer.run(main))

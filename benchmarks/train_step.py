"""One training step: the exported program against PyTorch eager.

    python -m benchmarks.train_step --model rnnt-2m --threads 1 --json

Both sides do a whole step on the same batch: gradient, clipping to a global norm, SGD. The
reference is `nn.LSTM`, autograd, torchaudio's rnnt_loss and torch.optim; ours is the program on
the stock ExecuTorch runtime and numpy on flat vectors. Steps are interleaved; medians are of the
process' CPU time with one thread and of wall time with more.

`training_bytes` = weights + planned arena. The flat gradient lies inside the arena and is not
counted again; plain SGD has no state.
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
import typer

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.gradient_check import Checked, check_step
from fedvoice.model_export.graphs.methods import step_and_decode
from fedvoice.model_export.kinds import ModelConfig, build_model
from fedvoice.model_export.kinds.ctc import CtcConfig
from fedvoice.model_export.kinds.encoder import EncoderConfig
from fedvoice.model_export.kinds.rnnt import RnntConfig
from fedvoice.model_export.lowering.program import lower
from fedvoice.model_export.lowering.runtime import LoadedProgram
from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.models.loss import loss_of
from fedvoice.model_export.package import flat_weights, parameter_table
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.random import read_table, uniform_table
from fedvoice.protocol.task import Bucket, FeatureSettings

RATE = 1e-4
CLIP_NORM = 5.0
FEATURES = FeatureSettings(mel_bins=40, stack=8)

MODELS: dict[str, tuple[ModelConfig, int, Bucket]] = {
    # 2.35M parameters: 2 x LSTM 320 on 8 x 40 mels, predictor and joint 256, 64 tokens
    "rnnt-2m": (
        RnntConfig(encoder=EncoderConfig(layers=2, hidden_size=320)),
        64,
        Bucket(name="t100", frames=100, labels=20, batch=8),
    ),
    # 0.4M parameters: biLSTM 96, the demo's model
    "rnnt-small": (
        RnntConfig(
            encoder=EncoderConfig(layers=1, hidden_size=96, bidirectional=True),
            embedding_size=32,
            predictor_size=96,
            joint_size=96,
        ),
        13,
        Bucket(name="t25", frames=25, labels=8, batch=8),
    ),
    "ctc-small": (
        CtcConfig(encoder=EncoderConfig(layers=2, hidden_size=128)),
        30,
        Bucket(name="t50", frames=50, labels=20, batch=8),
    ),
}


def main(
    model: Annotated[str, typer.Option(help=f"One of {', '.join(MODELS)}.")] = "rnnt-2m",
    threads: Annotated[int, typer.Option(min=1, help="Threads on both sides.")] = 1,
    steps: Annotated[int, typer.Option(min=3, help="Measured steps on each side.")] = 21,
    as_json: Annotated[bool, typer.Option("--json", help="Print only a JSON object.")] = False,
) -> None:
    """Measure one model's training step."""
    if model not in MODELS:
        raise typer.BadParameter(
            f"{model}: wanted one of {', '.join(MODELS)}", param_hint="--model"
        )
    result = measure(model, threads, steps)
    print(json.dumps(result) if as_json else json.dumps(result, indent=1))


def measure(name: str, threads: int, steps: int) -> dict[str, str | int | float]:
    """Export the step, check it (law 8) and time it against the reference."""
    set_threads(threads)
    config, vocabulary, bucket = MODELS[name]
    torch.manual_seed(0)
    model = build_model(config, FEATURES.stack * FEATURES.mel_bins, vocabulary)
    table = parameter_table(model)
    program = lower(
        {bucket.step_method: step_and_decode(config, table, bucket, FEATURES, model)[0]}
    )
    loaded = LoadedProgram(program.data)
    error = check_step(loaded, Checked(config, model, table, FEATURES), bucket).error

    x, y, x_lens, y_lens = _batch(vocabulary, bucket)
    inputs = TensorBatch(x, y, x_lens, y_lens, torch.full((bucket.batch,), 1 / bucket.batch))
    clock = time.process_time if threads == 1 else time.perf_counter
    reference_ms, ours_ms = step_times(loaded, model, table, bucket, inputs, steps, clock)
    arena_bytes = program.arena_bytes[bucket.step_method]
    return {
        "model": name,
        "threads": threads,
        "reference_ms": round(reference_ms, 3),
        "ours_ms": round(ours_ms, 3),
        "ratio": round(ours_ms / reference_ms, 4),
        "arena_bytes": arena_bytes,
        "training_bytes": table.weights_bytes + arena_bytes,
        "gradient_error": error,
        "parameters": table.parameter_count,
        "clock": "process CPU time" if threads == 1 else "wall time",
        "steps": steps,
    }


def step_times(
    program: LoadedProgram,
    model: TaskModel,
    table: ParameterTable,
    bucket: Bucket,
    inputs: TensorBatch,
    steps: int,
    clock: Callable[[], float] = time.process_time,
) -> tuple[float, float]:
    """Median milliseconds of a whole step by PyTorch and by the program, on the same batch.

    Where a bucket draws, both sides draw anew in each step: ours from the table that phones read,
    PyTorch by its own dropout.

    Args:
        model: trained in place.
        inputs: the program's own, unstacked.
    """
    weights = flat_weights(model, table)
    views = tuple(torch.from_numpy(view) for view in table.views(weights))

    table_of_draws, drawn = uniform_table(seed=0), np.empty(bucket.draws, dtype=np.float32)
    offsets = itertools.count(step=bucket.draws)

    def ours() -> None:
        given: tuple[torch.Tensor, ...] = inputs
        if bucket.draws:
            draws = read_table(table_of_draws, next(offsets), drawn)
            given = (*inputs, torch.from_numpy(draws))
        gradient = program.run(bucket.step_method, (*views, *given))[1].numpy()
        norm = float(np.sqrt(np.dot(gradient, gradient)))
        gradient *= RATE * min(1.0, CLIP_NORM / max(norm, 1e-12))
        np.subtract(weights, gradient, out=weights)

    optimiser = torch.optim.SGD(model.parameters(), lr=RATE)
    stacked = inputs.features.reshape(bucket.batch, bucket.frames, -1)
    batch = inputs._replace(features=stacked)

    def reference() -> None:
        optimiser.zero_grad()
        loss_of(model, batch).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimiser.step()

    reference_ms, ours_ms = interleaved([reference, ours], steps, clock)
    return reference_ms, ours_ms


def set_threads(threads: int) -> None:
    from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool

    torch.set_num_threads(threads)
    _unsafe_reset_threadpool(threads)


def _batch(
    vocabulary: int, bucket: Bucket
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A full, ragged batch: x, y, x_lens, y_lens."""
    g = torch.Generator().manual_seed(1)
    frames, labels, batch = bucket.frames, bucket.labels, bucket.batch
    x_lens = torch.randint(frames // 2 + labels // 2, frames + 1, (batch,), generator=g)
    y_lens = torch.randint(labels // 3, labels + 1, (batch,), generator=g)
    x_lens[0], y_lens[0] = frames, labels
    x = torch.randn(batch, frames * FEATURES.stack, FEATURES.mel_bins, generator=g)
    y = torch.randint(1, vocabulary, (batch, labels), generator=g)
    return x, y, x_lens, y_lens


def interleaved(
    sides: list[Callable[[], None]],
    steps: int,
    clock: Callable[[], float] = time.process_time,
) -> list[float]:
    """Median milliseconds of each side, called in turn after two rounds of warming up."""
    times: list[list[float]] = [[] for _ in sides]
    for step in range(steps + 2):
        for side, found in zip(sides, times, strict=True):
            began = clock()
            side()
            if step >= 2:
                found.append(1e3 * (clock() - began))
    return [statistics.median(found) for found in times]


if __name__ == "__main__":
    typer.run(main)

"""One model of the zoo: exported, checked (law 8), timed.

    python -m benchmarks.zoo.measure NAME STEPS

prints a JSON object. The benchmark runs each model so, in a process of its own.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from benchmarks.train_step import set_threads, step_times
from benchmarks.zoo.operators import OPERATORS
from benchmarks.zoo.tasks import ZOO, refused
from fedvoice.model_export.fresh import drawing_buckets, new_model, parameter_table
from fedvoice.model_export.gradient_check import Checked, random_batch
from fedvoice.model_export.graphs.methods import task_methods
from fedvoice.model_export.lowering.program import lower
from fedvoice.model_export.lowering.runtime import LoadedProgram
from fedvoice.model_export.models.loss import loss_of
from fedvoice.model_export.package import check_program
from fedvoice.model_export.traced.step import TracedStep
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.parameters import ParameterTable

NO_GRADIENT = 1e-6
"""A parameter whose gradient is below this part of the largest of all is listed."""
LEARNING_STEPS, LEARNING_RATE = 20, 0.1
"""Steps in which the loss has to fall, clipped to a norm of 1."""


def measure(name: str, steps: int) -> dict[str, Any]:
    """Export a model's task and compare a step with PyTorch's.

    Raises:
        FedvoiceError: whatever an export refuses.
    """
    began = time.monotonic()
    set_threads(1)
    config = ZOO[name].config(name, three_sizes=True)
    vocabulary = config.vocabulary.build()
    model = new_model(config, vocabulary.size)
    table, features = parameter_table(model), config.features
    buckets = drawing_buckets(config, model)
    bucket = buckets[-1]
    methods = task_methods(config.model, table, buckets, features, model)
    step = methods[bucket.step_method].graph
    assert isinstance(step, TracedStep)
    program = lower(methods, _say)
    checked = Checked(config.model, model, table, features)
    reports, _ = check_program(program, checked, buckets, _say)
    found = {
        "parameters": table.parameter_count,
        "gradient_error": max(report.error for report in reports),
        "sizes": [[b.frames, b.labels, b.batch] for b in buckets],
        "draws": bucket.draws,
        "arena_bytes": program.arena_bytes[bucket.step_method],
        "program_bytes": len(program.data),
        "new_operators": sorted({*program.operators, *program.delegates} - OPERATORS),
        "rewritten": sorted(step.traced.notes.rewritten),
        "numbers": [f"{n.value} at {n.place}" for n in step.traced.notes.numbers],
        "export_secs": round(time.monotonic() - began, 1),
    }
    loaded, batch = LoadedProgram(program.data), random_batch(checked, bucket, 2, bucket.batch)
    draws = (torch.rand(bucket.draws),) if bucket.draws else ()
    flat = loaded.run(bucket.step_method, (*checked.parameters(), *batch, *draws))[1]
    sizes = {spec.name: float(flat[spec.place].abs().max()) for spec in table.parameters}
    largest = max(sizes.values())
    _say(f"learn for {LEARNING_STEPS} steps")
    losses = learn(loaded, checked.parameters(), table, bucket.step_method, (*batch, *draws))
    without = [name for name, size in sizes.items() if size < NO_GRADIENT * largest]
    if draws:  # Held to be the same twice with these; from then on PyTorch draws its own.
        with model.drawing(bucket, draws[0]):
            loss_of(model, batch._replace(features=checked.stacked(batch.features)))
    _say("time steps")
    reference_ms, ours_ms = step_times(loaded, model, table, bucket, batch, steps)
    return found | {
        "without_gradient": without,
        "losses": [round(loss, 3) for loss in (losses[0], losses[-1])],
        "reference_ms": round(reference_ms, 2),
        "ours_ms": round(ours_ms, 2),
        "ratio": round(ours_ms / reference_ms, 3),
    }


def learn(
    program: LoadedProgram,
    parameters: tuple[Tensor, ...],
    table: ParameterTable,
    method: str,
    inputs: tuple[Tensor, ...],
) -> list[float]:
    """The summed loss before each step of SGD, and after the last, on one batch and one draw."""
    weights, losses = [parameter.clone() for parameter in parameters], []
    for _ in range(LEARNING_STEPS + 1):
        loss, flat = program.run(method, (*weights, *inputs))
        losses.append(float(loss))
        step = flat * (LEARNING_RATE / max(float(flat.norm()), 1.0))
        for spec, weight in zip(table.parameters, weights, strict=True):
            weight -= step[spec.place].view(spec.shape)
    return losses


def result(name: str, steps: int) -> dict[str, Any]:
    """What the benchmark reports of a model, whether it exports or not."""
    missing = ZOO[name].needs
    if missing and find_spec(missing) is None:
        return refused(name, f"not tried: {missing} is missing, pip install 'fedvoice[zoo]'")
    try:
        return {"name": name, "exports": True, **measure(name, steps), "refused": ""}
    except FedvoiceError as error:
        return refused(name, str(error))


def _say(part: str) -> None:
    print(f"  {part}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    torch.manual_seed(0)
    print(json.dumps(result(sys.argv[1], int(sys.argv[2]))))

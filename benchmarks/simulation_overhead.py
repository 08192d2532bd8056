"""The overhead of simulating a federation beyond the training itself.

    python -m benchmarks.simulation_overhead --model mlp --json

`overhead_ms` is CPU time (process time, one thread) for each client of whole rounds of the
in-process federation, less that of a plain PyTorch loop that takes the same number of steps on
batches of the same shape: `nn.Module`, autograd, `torch.optim.SGD`, no clipping on either side.
The federation's share has all of a round in it but the evaluation: drawing the cohort, the round's
machine, each client's draws, training, the check of its update, exact folding, the server's
optimiser, the books. Rounds of both are interleaved; figures are medians over rounds. Clients of
the federation train together where the model has a form for that; the plain loop takes them one
after the other. So the overhead is negative where training together saves more than all the rest
costs; `apart_overhead_ms` is the same for a federation that trains them one after the other, too.

`first_round_secs` is the wall time of a fresh process from its start, imports included, to the end
of its first round; `peak_bytes` is that process's largest resident set. `plain_secs` and
`plain_bytes` are a fresh process's that takes the plain loop's first client's steps,
`torch_secs` and `torch_bytes` those of one that only imports torch.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.overhead_scene import Scene

BATCH = 10
FRESH_RUNS = 3
MODELS = ("mlp", "lstm")
ONLY_TORCH = "import torch"


def main() -> None:
    """Run the benchmark, or one fresh process of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, default="mlp")
    parser.add_argument("--clients", type=int, default=16, help="of a round")
    parser.add_argument("--steps", type=int, default=10, help="of a client, batches of 10")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", action="store_true", help="print only a JSON object")
    parser.add_argument("--fresh", choices=("ours", "plain"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fresh:
        run_fresh(options)
        return
    result = measure(options)
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))


def measure(options: argparse.Namespace) -> dict[str, str | int | float]:
    """All figures; fresh processes first, as long as this one is small."""
    again = ["-m", "benchmarks.simulation_overhead", "--model", options.model]
    again += ["--clients", str(options.clients), "--steps", str(options.steps)]
    first_round_secs, peak_bytes = fresh_process([*again, "--fresh", "ours"])
    plain_secs, plain_bytes = fresh_process([*again, "--fresh", "plain"])
    torch_secs, torch_bytes = fresh_process(["-c", ONLY_TORCH])

    scene = make_scene(options)
    plain, ours, apart = interleaved(
        [
            scene.plain_round,
            scene.rounds_of(scene.federation()),
            scene.rounds_of(scene.federation(clients_together=1)),
        ],
        options.rounds,
    )
    per_client = 1e3 / options.clients
    return {
        "model": options.model,
        "overhead_ms": round((ours - plain) * per_client, 3),
        "first_round_secs": round(first_round_secs, 2),
        "peak_bytes": peak_bytes,
        "plain_ms": round(plain * per_client, 3),
        "ours_ms": round(ours * per_client, 3),
        "apart_overhead_ms": round((apart - plain) * per_client, 3),
        "plain_secs": round(plain_secs, 2),
        "plain_bytes": plain_bytes,
        "torch_secs": round(torch_secs, 2),
        "torch_bytes": torch_bytes,
        "clients": options.clients,
        "steps": options.steps,
        "batch": BATCH,
        "rounds": options.rounds,
        "parameters": scene.parameters,
    }


def make_scene(options: argparse.Namespace) -> Scene:
    """Imports torch: a fresh process's time has that in it."""
    from benchmarks.overhead_scene import Scene

    return Scene(options.model, options.clients, options.steps, BATCH)


def run_fresh(options: argparse.Namespace) -> None:
    """One round, or one client's plain loop; the parent takes the time."""
    scene = make_scene(options)
    if options.fresh == "ours":
        scene.rounds_of(scene.federation())()
    else:
        scene.plain_client()
    finish()


def finish() -> None:
    """Print the peak size of this process and end it without the interpreter's slow shutdown."""
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"end": time.time(), "peak_bytes": peak_bytes}), flush=True)
    os._exit(0)


def fresh_process(arguments: Sequence[str]) -> tuple[float, int]:
    """(seconds from the start, peak bytes) of a new interpreter: medians of a few."""
    ending = "; from benchmarks.simulation_overhead import finish; finish()"
    if arguments[0] == "-c":
        arguments = ["-c", arguments[1] + ending]
    found = []
    for _ in range(FRESH_RUNS):
        began = time.time()
        done = subprocess.run(
            [sys.executable, *arguments],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        said = json.loads(done.stdout.splitlines()[-1])
        found.append((said["end"] - began, said["peak_bytes"]))
    secs, sizes = zip(*found, strict=True)
    return statistics.median(secs), int(statistics.median(sizes))


def interleaved(sides: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """Median CPU seconds of each side, called in turn after two rounds of warming up."""
    times: list[list[float]] = [[] for _ in sides]
    for number in range(rounds + 2):
        for side, found in zip(sides, times, strict=True):
            began = time.process_time()
            side()
            if number >= 2:
                found.append(time.process_time() - began)
    return [statistics.median(found) for found in times]


if __name__ == "__main__":
    main()

"""Rounds of a thousand clients out of a hundred thousand: `experiments/stress.toml`, measured.

    python -m benchmarks.big_round --worker-pool processes --workers 2

Reports, after one round of warming up: wall seconds a round (median), CPU milliseconds a client of
all processes that train or aggregate, the largest resident set of the main process and of a
worker, and a digest of the weights, which is the same for all pools (law 1). The last line is
JSON. With --profile, where the main process's time goes in one round.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import json
import os
import pstats
import statistics
import time
from functools import partial
from pathlib import Path

from fedvoice.laboratory.experiment.config import load_experiment
from fedvoice.laboratory.experiment.run import trial_task
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.simulation.engines import TrainerSpec
from fedvoice.simulation.federation import Federation
from fedvoice.simulation.populations import build_population
from fedvoice.simulation.workers.pool import WorkerPool, WorkerSpec
from fedvoice.simulation.workers.spread import Spread

EXPERIMENT = Path(__file__).resolve().parent.parent / "experiments" / "stress.toml"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker-pool", choices=("inline", "processes", "ray"), default="inline")
    parser.add_argument("--workers", type=int, default=2, help="of the two other pools")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    (trial,) = load_experiment(EXPERIMENT).trials(str(EXPERIMENT))
    print(json.dumps(measure(trial, options)))


def measure(trial: Trial, options: argparse.Namespace) -> dict[str, str | int | float]:
    """One run."""
    task = trial_task(trial, Path(), lambda progress: None)
    spec = TrainerSpec(trial.settings.engine, task.manifest)
    source = partial(build_population, trial.settings.data, task.manifest, trial.seed)
    pool = make_pool(options, WorkerSpec(spec, source))
    config = trial.server.model_copy(update={"evaluate_every": 0})
    assert config.plan is not None
    population = source()
    clients = list(population.client_ids)
    federation = Federation(
        trial.arm,
        task.manifest,
        clients,
        config.plan,
        config,
        pool,
        lambda weights: {},
        population.size,
    )
    state = federation.step(federation.start(task.initial_weights(trial.seed)))
    began, secs = cpu_secs(worker_ids(options, pool)), []
    for _ in range(options.rounds - 1):
        before = time.perf_counter()
        state = federation.step(state)
        secs.append(time.perf_counter() - before)
    cpu = cpu_secs(worker_ids(options, pool)) - began
    workers = worker_ids(options, pool)
    found: dict[str, str | int | float] = {
        "worker_pool": options.worker_pool,
        "workers": len(workers),
        "clients": config.cohort_size,
        "population": len(clients),
        "secs_per_round": round(statistics.median(secs), 2),
        "cpu_ms_per_client": round(1e3 * cpu / config.cohort_size / len(secs), 2),
        "peak_bytes": peak_bytes(os.getpid()),
        "worker_peak_bytes": max((peak_bytes(pid) for pid in workers), default=0),
        "weights": hashlib.sha256(state.weights.tobytes()).hexdigest()[:16],
    }
    if options.profile:
        with cProfile.Profile() as profile:
            federation.step(state)
        pstats.Stats(profile).sort_stats("tottime").print_stats(18)
    pool.close()
    return found


def make_pool(options: argparse.Namespace, spec: WorkerSpec) -> WorkerPool:
    """As `fedvoice experiment run` makes it."""
    if options.worker_pool == "ray":
        from fedvoice.simulation.workers.ray_pool import connect

        connect(None)
    spread = Spread(
        1 if options.worker_pool == "inline" else options.workers,
        "ray" if options.worker_pool == "ray" else "",
    )
    return spread.pool_for(spec.trainer, spec.population, *spec.make())


def worker_ids(options: argparse.Namespace, pool: WorkerPool) -> list[int]:
    """Process ids of the pool's workers on this machine."""
    if options.worker_pool == "ray":
        return [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if read(path).startswith("ray::_Worker")
        ]
    return getattr(pool, "process_ids", [])


def cpu_secs(workers: list[int]) -> float:
    """User and system time so far of this process and its workers."""
    ticks = 0
    for pid in (os.getpid(), *workers):
        fields = read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int) -> int:
    """Largest resident set of a process so far."""
    for line in read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def read(path: Path) -> str:
    """A file of /proc; "" if its process is gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    main()

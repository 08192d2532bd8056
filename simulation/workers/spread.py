"""Over which processes and machines the clients of a round are spread; the door of worker pools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedvoice.protocol.registry import Registry
from fedvoice.simulation.clients import Population
from fedvoice.simulation.engines import TrainerSpec
from fedvoice.simulation.trainers import Trainer
from fedvoice.simulation.workers.pool import InlinePool, PopulationSource, WorkerPool, WorkerSpec

MakePool = Callable[[WorkerSpec, int], WorkerPool]
"""(what each worker makes for itself, number of workers) -> the pool."""

WORKER_POOLS: Registry[MakePool] = Registry(
    "worker pool",
    "fedvoice.worker_pools",
    {
        "here": "fedvoice.simulation.workers.pool:here",
        "processes": "fedvoice.simulation.workers.processes:ProcessPool",
        "ray": "fedvoice.simulation.workers.ray_pool:RayPool",
    },
)


@dataclass(frozen=True)
class Spread:
    """workers: that share the clients of one run's rounds. pool: what runs them, by name; with one
    worker clients are trained in this process unless a pool is named. Neither changes a result."""

    workers: int = 1
    pool: str = ""

    @property
    def ray(self) -> bool:
        """Whether runs of an experiment, too, go to a Ray cluster."""
        return self.pool == "ray"

    def pool_for(
        self,
        spec: TrainerSpec,
        source: PopulationSource,
        trainer: Trainer,
        population: Population,
    ) -> WorkerPool:
        """What trains a run's clients: `trainer` here, or workers with trainers and populations of
        their own.

        Raises:
            FedvoiceError: `bad-plugin`.
        """
        name = self.pool or ("processes" if self.workers > 1 else "here")
        if name == "here" or (name == "ray" and self.workers == 1):
            return InlinePool(trainer, population)
        make = WORKER_POOLS.get(name)
        with WORKER_POOLS.naming(name):
            return make(WorkerSpec(spec, source), self.workers)


HERE = Spread()

"""The choice of a worker pool, and the registry of the group `fedvoice.worker_pools`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedvoice.protocol.registry import Registry
from fedvoice.simulation.clients import Population
from fedvoice.simulation.cohort import CohortPart, RoundWork
from fedvoice.simulation.engines import TrainerSpec
from fedvoice.simulation.trainers import Trainer
from fedvoice.simulation.workers.pool import InlinePool, PopulationSource, WorkerPool, WorkerSpec

MakePool = Callable[[WorkerSpec, int], WorkerPool]
"""(how each worker builds its trainer and population, number of workers) -> the pool."""

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
    """How the clients of a round are spread over workers.

    workers: number of workers that share a round. pool: name of the worker pool; "": this process
    with one worker, processes with more. Neither changes a result.
    """

    workers: int = 1
    pool: str = ""

    @property
    def ray(self) -> bool:
        """Whether an experiment's trials, too, run on a Ray cluster."""
        return self.pool == "ray"

    def pool_for(
        self,
        spec: TrainerSpec,
        source: PopulationSource,
        trainer: Trainer,
        population: Population,
    ) -> WorkerPool:
        """The pool that trains a trial's clients: `trainer` in this process, or workers that build
        their own trainers and populations.

        Raises:
            FedvoiceError: `bad-plugin`.
        """
        name = self.pool or ("processes" if self.workers > 1 else "here")
        if name == "here" or (name == "ray" and self.workers == 1):
            return InlinePool(trainer, population)
        make = WORKER_POOLS.get(name)
        with WORKER_POOLS.naming(name):
            pool = make(WorkerSpec(spec, source), self.workers)
        return pool if name in WORKER_POOLS.built_in else NamedPool(name, pool)


@dataclass(frozen=True)
class NamedPool:
    """A user's pool; its exceptions become `bad-plugin` errors that name it."""

    name: str
    pool: WorkerPool

    def train(self, work: RoundWork, client_ids: Sequence[str]) -> CohortPart:
        """See `WorkerPool`."""
        with WORKER_POOLS.naming(self.name):
            return self.pool.train(work, client_ids)

    def close(self) -> None:
        """See `WorkerPool`."""
        with WORKER_POOLS.naming(self.name):
            self.pool.close()


HERE = Spread()

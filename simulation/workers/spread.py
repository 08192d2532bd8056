"""Over which processes and machines an experiment's work is spread."""

from __future__ import annotations

from dataclasses import dataclass

from fedvoice.simulation.clients import Population
from fedvoice.simulation.engines import TrainerSpec
from fedvoice.simulation.trainers import Trainer
from fedvoice.simulation.workers.pool import (
    Backend,
    InlineBackend,
    PopulationSource,
    WorkerSpec,
)


@dataclass(frozen=True)
class Spread:
    """workers: that share the clients of one cell's rounds. ray: on a Ray cluster rather than in
    processes of this machine. Neither changes a result."""

    workers: int = 1
    ray: bool = False

    def backend(
        self,
        spec: TrainerSpec,
        source: PopulationSource,
        trainer: Trainer,
        population: Population,
    ) -> Backend:
        """What trains a cell's clients: `trainer` here if there is one worker only, or workers
        with trainers and populations of their own."""
        if self.workers == 1:
            return InlineBackend(trainer, population)
        if self.ray:
            from fedvoice.simulation.workers.ray_pool import RayBackend

            return RayBackend(WorkerSpec(spec, source), self.workers)
        from fedvoice.simulation.workers.processes import ProcessBackend

        return ProcessBackend(WorkerSpec(spec, source), self.workers)


HERE = Spread()

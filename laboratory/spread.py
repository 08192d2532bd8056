"""Over which processes and machines an experiment's work is spread."""

from __future__ import annotations

from dataclasses import dataclass

from laboratory.backends import Backend, InlineBackend, PopulationSource, WorkerSpec
from laboratory.clients import Population
from laboratory.engines import TrainerSpec
from laboratory.trainers import Trainer


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
            from laboratory.ray_backend import RayBackend

            return RayBackend(WorkerSpec(spec, source), self.workers)
        from laboratory.process_backend import ProcessBackend

        return ProcessBackend(WorkerSpec(spec, source), self.workers)


HERE = Spread()

"""Plug-ins with a mistake in them, in a module that worker processes can import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedvoice.data.dataset import VocabularyOf
from fedvoice.data.memory import MemoryClients
from fedvoice.data.partitioning import PartitionRule
from fedvoice.simulation.cohort import CohortPart, RoundWork
from fedvoice.simulation.engines import TrainerSpec, TrainingEngine
from fedvoice.simulation.trainers import Trainer
from fedvoice.simulation.workers.pool import WorkerSpec


class Engine(TrainingEngine):
    @staticmethod
    def trainer(spec: TrainerSpec) -> Trainer:
        raise KeyError("engine")


class Data:
    sounds = False

    def identity(self) -> dict[str, Any]:
        raise KeyError("identity")

    def task_defaults(self, task: Any, vocabulary_of: VocabularyOf) -> dict[str, Any]:
        raise KeyError("task_defaults")

    def clients(self, partition: str | PartitionRule | None = None, seed: int = 0) -> MemoryClients:
        raise KeyError("clients")


class Pool:
    def __init__(self, spec: WorkerSpec, workers: int) -> None:
        pass

    def train(self, work: RoundWork, client_ids: Sequence[str]) -> CohortPart:
        raise KeyError("train")

    def close(self) -> None:
        raise KeyError("close")


class Untold(Exception):  # noqa: N818
    """Cannot be unpickled: it wants two arguments and keeps one."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


def broken_source() -> Any:
    raise ZeroDivisionError("in a population")


def untold_source() -> Any:
    raise Untold("in a", "population")

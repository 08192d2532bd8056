"""Where the clients of a round are trained: here, in worker processes, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from laboratory.clients import Population
from laboratory.cohort import CohortPart, RoundWork, train_cohort
from laboratory.trainers import Trainer, TrainerSpec

PopulationSource = Callable[[], Population]
"""Makes the population in the process that needs it; picklable."""


class Backend(Protocol):
    """Trains part of a population."""

    def train(self, work: RoundWork, client_ids: Sequence[str]) -> CohortPart:
        """Train these clients; reports come in their order, whatever ran where."""

    def close(self) -> None:
        """Let go of processes."""


class InlineBackend:
    """One client after the other in this process."""

    def __init__(self, trainer: Trainer, population: Population) -> None:
        self._trainer, self._population = trainer, population

    def train(self, work: RoundWork, client_ids: Sequence[str]) -> CohortPart:
        """See `Backend`."""
        return train_cohort(self._trainer, self._population, work, client_ids)

    def close(self) -> None:
        """See `Backend`."""


def merge_parts(parts: Sequence[CohortPart], order: Sequence[str]) -> CohortPart:
    """One part of many; reports in `order`."""
    first, *rest = parts
    for part in rest:
        first.total.merge(part.total)
        first.reports += part.reports
    place = {client_id: i for i, client_id in enumerate(order)}
    first.reports.sort(key=lambda report: place[report.client_id])
    return first


def deal(client_ids: Sequence[str], workers: int) -> list[Sequence[str]]:
    """The clients in turn to `workers` lists, none of them empty."""
    return [client_ids[i::workers] for i in range(min(workers, len(client_ids)))]


__all__ = [
    "Backend",
    "InlineBackend",
    "PopulationSource",
    "TrainerSpec",
    "deal",
    "merge_parts",
]

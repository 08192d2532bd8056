"""Where the clients of a round are trained: here, in worker processes, or on a Ray cluster.

Workers get the round's weights once and give one partial sum back, whatever the number of their
clients. Sums are exact (law 1), and clients are dealt in the groups in which they train together,
so that every backend comes to the same model, to the bit, on machines that compute alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from fedvoice.algorithm.aggregation import Accumulator
from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
)
from fedvoice.simulation.clients import Population
from fedvoice.simulation.cohort import (
    CohortPart,
    RoundWork,
    train_cohort,
)
from fedvoice.simulation.engines import TrainerSpec
from fedvoice.simulation.trainers import Trainer

PopulationSource = Callable[[], Population]
"""Makes the population in the process that needs it; picklable."""


class WorkerPool(Protocol):
    """Trains part of a population."""

    def train(self, work: RoundWork, client_ids: Sequence[str]) -> CohortPart:
        """Train these clients; reports come in their order, whatever ran where.

        Raises:
            FedvoiceError: `client-lost` if no worker is left; what training raises.
        """

    def close(self) -> None:
        """Let go of processes."""


class InlinePool:
    """One client after the other in this process."""

    def __init__(self, trainer: Trainer, population: Population) -> None:
        self._trainer, self._population = trainer, population

    def train(self, work: RoundWork, client_ids: Sequence[str]) -> CohortPart:
        """See `WorkerPool`."""
        return train_cohort(self._trainer, self._population, work, client_ids)

    def close(self) -> None:
        """See `WorkerPool`."""


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker makes for itself before its first round; picklable."""

    trainer: TrainerSpec
    population: PopulationSource

    def make(self) -> tuple[Trainer, Population]:
        """The worker's own trainer and population.

        Raises:
            FedvoiceError: what reading the corpus or the package raises.
        """
        return self.trainer.make(), self.population()


def here(spec: WorkerSpec, workers: int) -> WorkerPool:
    """One worker: this process."""
    return InlinePool(*spec.make())


Worker = TypeVar("Worker")


class Workers(Protocol[Worker]):
    """Workers of a backend, each with one share at a time."""

    def begin(self, worker: Worker, work: RoundWork, client_ids: Sequence[str]) -> None:
        """Give an idle worker a share; one that has died may take it without a word."""

    def next_done(self) -> tuple[Worker, CohortPart | None]:
        """Wait for any of those at work; None: it has died.

        Raises:
            FedvoiceError: what training raised in the worker.
        """


class PoolRound(Generic[Worker]):
    """One round's shares among the workers of a pool."""

    def __init__(self, pool: Workers[Worker], workers: Sequence[Worker]) -> None:
        self._pool, self._idle = pool, list(workers)
        self._at_work: dict[Worker, Sequence[str]] = {}

    def train(self, work: RoundWork, shares: Sequence[Sequence[str]]) -> list[CohortPart]:
        """All shares, each by one worker. The share of a worker that dies goes to another, and
        the dead get no more.

        Raises:
            FedvoiceError: `client-lost` when the last worker has died; what training raises.
        """
        waiting, parts = deque(shares), list[CohortPart]()
        while waiting or self._at_work:
            while waiting and self._idle:
                worker, share = self._idle.pop(0), waiting.popleft()
                self._pool.begin(worker, work, share)
                self._at_work[worker] = share
            if not self._at_work:
                raise _nobody_left(work.number)
            worker, part = self._pool.next_done()
            share = self._at_work.pop(worker)
            if part is None:
                waiting.append(share)
            else:
                parts.append(part)
                self._idle.append(worker)
        return parts


def merge_parts(parts: Sequence[CohortPart], order: Sequence[str]) -> CohortPart:
    """A new part of one or more, which stay as they are; reports in `order`."""
    size, grid_bits = parts[0].total.size, parts[0].total.grid_bits
    merged = CohortPart(Accumulator(size, grid_bits=grid_bits))
    for part in parts:
        merged.total.merge(part.total)
        merged.reports += part.reports
    place = {client_id: i for i, client_id in enumerate(order)}
    merged.reports.sort(key=lambda report: place[report.client_id])
    return merged


def split_cohort(client_ids: Sequence[str], workers: int, together: int = 1) -> list[list[str]]:
    """Groups of `together` neighbours, in turn to `workers` lists, none of them empty."""
    groups = [client_ids[i : i + together] for i in range(0, len(client_ids), together)]
    dealt = [groups[i::workers] for i in range(min(workers, len(groups)))]
    return [[client_id for group in own for client_id in group] for own in dealt]


def _nobody_left(number: int) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.CLIENT_LOST,
        where=f"the workers of round {number}",
        got="all of them ended; what they had to say is above",
        wanted="one worker at least that finishes its share",
        next_step="Where nothing is said memory was short: run with fewer --workers.",
    )

"""The interface of worker pools, and the pool of this process.

A worker receives the round's weights once and returns one partial sum, whatever the number of its
clients. Sums are exact (law 1), and the cohort is split in whole groups of clients that train
together, so every pool gives the same model, to the bit, on machines that round alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.simulation.clients import Population
from fedvoice.simulation.cohort import CohortPart, RoundWork, train_cohort
from fedvoice.simulation.engines import TrainerSpec
from fedvoice.simulation.trainers import Trainer

PopulationSource = Callable[[], Population]
"""Builds the population in the process that needs it; picklable."""


class WorkerPool(Protocol):
    """Trains part of a population."""

    def train(self, work: RoundWork, client_ids: Sequence[str]) -> CohortPart:
        """Train these clients; reports are in their order.

        Raises:
            FedvoiceError: `client-lost` if no worker is left; errors of training.
        """

    def close(self) -> None:
        """End the pool's processes."""


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
    """How a worker builds its trainer and population before its first round; picklable."""

    trainer: TrainerSpec
    population: PopulationSource

    def make(self) -> tuple[Trainer, Population]:
        """The worker's own trainer and population.

        Raises:
            FedvoiceError: what reading the corpus or the package raises.
        """
        return self.trainer.make(), self.population()


def here(spec: WorkerSpec, workers: int) -> WorkerPool:
    """The pool of this process, whatever the number of workers."""
    return InlinePool(*spec.make())


Worker = TypeVar("Worker")


class Workers(Protocol[Worker]):
    """The workers of a pool, each with one share at a time."""

    def begin(self, worker: Worker, work: RoundWork, client_ids: Sequence[str]) -> None:
        """Send a share to an idle worker; that it has died may show only in `next_done`."""

    def next_done(self) -> tuple[Worker, CohortPart | None]:
        """Wait for any busy worker; None: it has died.

        Raises:
            FedvoiceError: what training raised in the worker.
        """


class PoolRound(Generic[Worker]):
    """Distributes one round's shares among the workers of a pool."""

    def __init__(self, pool: Workers[Worker], workers: Sequence[Worker]) -> None:
        self._pool, self._idle = pool, list(workers)
        self._at_work: dict[Worker, Sequence[str]] = {}

    def train(self, work: RoundWork, shares: Sequence[Sequence[str]]) -> list[CohortPart]:
        """Run all shares. The share of a worker that dies goes to another worker.

        Raises:
            FedvoiceError: `client-lost` when the last worker has died; errors of training.
        """
        waiting, parts = deque(shares), list[CohortPart]()
        while waiting or self._at_work:
            while waiting and self._idle:
                worker, share = self._idle.pop(0), waiting.popleft()
                self._pool.begin(worker, work, share)
                self._at_work[worker] = share
            if not self._at_work:
                raise _no_worker_left(work.number)
            worker, part = self._pool.next_done()
            share = self._at_work.pop(worker)
            if part is None:
                waiting.append(share)
            else:
                parts.append(part)
                self._idle.append(worker)
        return parts


def merge_parts(parts: Sequence[CohortPart], order: Sequence[str]) -> CohortPart:
    """Merge parts into a new one, reports in `order`; the arguments are unchanged."""
    merged = CohortPart(parts[0].total.empty())
    for part in parts:
        merged.total.merge(part.total)
        merged.reports += part.reports
    place = {client_id: i for i, client_id in enumerate(order)}
    merged.reports.sort(key=lambda report: place[report.client_id])
    return merged


def split_cohort(client_ids: Sequence[str], workers: int, together: int = 1) -> list[list[str]]:
    """Split a cohort among workers: groups of `together` neighbours, assigned in turn to at most
    `workers` lists, none of them empty."""
    groups = [client_ids[i : i + together] for i in range(0, len(client_ids), together)]
    shares = [groups[i::workers] for i in range(min(workers, len(groups)))]
    return [[client_id for group in own for client_id in group] for own in shares]


def _no_worker_left(number: int) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.CLIENT_LOST,
        where=f"the workers of round {number}",
        got="all of them ended; their messages are above",
        wanted="at least one worker that finishes its share",
        next_step="Without a message the cause is lack of memory: run with fewer --workers.",
    )

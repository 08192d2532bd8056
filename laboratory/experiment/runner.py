"""Run an experiment's cells by an executor, those that are done already left alone.

    CELLS/<digest>/       one folder a cell, whatever experiment asked for it
    CELLS/tasks/<key>/    exported tasks
    CELLS/worker.log      what the runtime and the exporter print

A cell that fails does not stop the others. Ctrl-C, a killed worker or a killed parent cost at most
what was trained since the last checkpoint: the same command resumes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from fedvoice.laboratory.experiment.cells import Cell
from fedvoice.laboratory.experiment.executor import Ended, Executor, Job, Said
from fedvoice.laboratory.experiment.kept import read_outcome
from fedvoice.laboratory.experiment.local_executor import LocalExecutor
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import Progress, cell_dir
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.reporting.callbacks import CallbackSpec, travelling
from fedvoice.simulation.workers.spread import HERE, Spread

WORKER_LOG = "worker.log"
_DEATHS_AT_MOST = 3


class Observer(Protocol):
    """Hears how cells come on."""

    def progressed(self, cell: Cell, progress: Progress) -> None:
        """A cell has come so far."""

    def finished(self, cell: Cell, outcome: Outcome | None, error: FedvoiceError | None) -> None:
        """A cell is done, now or earlier, or has failed."""


@dataclass(frozen=True)
class Failure:
    """A cell that could not be run."""

    cell: Cell
    error: FedvoiceError


@dataclass(frozen=True)
class Gathered:
    """All cells of an experiment: outcomes in the cells' order, and those that failed."""

    outcomes: list[Outcome]
    failures: list[Failure]


def run_cells(
    cells: Sequence[Cell],
    cells_dir: Path,
    jobs: int,
    observer: Observer,
    spread: Spread = HERE,
    callbacks: Sequence[CallbackSpec] = (),
) -> Gathered:
    """Run what is not done yet, `jobs` cells at a time; equal cells once.

    Args:
        spread: with `ray` cells run on the cluster that this process is connected to.
        callbacks: told of every cell, in the process that runs it.

    Raises:
        KeyboardInterrupt: after the workers have kept their checkpoints.
        FedvoiceError: `client-lost` if workers die again and again at the same cell.
    """
    batch = _Batch(cells_dir, observer, spread, travelling(callbacks))
    batch.take(cells)
    if batch.waiting:
        with closing(_executor(min(jobs, len(batch.waiting)), cells_dir, spread)) as executor:
            batch.run(executor)
    return Gathered(
        # Two arms may share a cell: each has it under its own name.
        [replace(batch.outcomes[c.digest], cell=c) for c in cells if c.digest in batch.outcomes],
        list(batch.failures.values()),
    )


def _executor(jobs: int, cells_dir: Path, spread: Spread) -> Executor:
    if spread.ray:
        from fedvoice.laboratory.experiment.ray_executor import RayExecutor

        return RayExecutor(jobs, cells_dir / WORKER_LOG)
    return LocalExecutor(jobs, cells_dir / WORKER_LOG)


@dataclass
class _Batch:
    """The cells of one call, by digest."""

    cells_dir: Path
    observer: Observer
    spread: Spread
    callbacks: tuple[CallbackSpec, ...]
    waiting: dict[str, Cell] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    deaths: Counter[str] = field(default_factory=Counter)

    def take(self, cells: Sequence[Cell]) -> None:
        """Find what is done; the rest waits."""
        for cell in cells:
            if cell.digest in self.outcomes:
                continue
            done = read_outcome(cell, cell_dir(self.cells_dir, cell))
            if done is None:
                self.waiting.setdefault(cell.digest, cell)
            else:
                self.outcomes[cell.digest] = done
                self.observer.finished(cell, done, None)

    def run(self, executor: Executor) -> None:
        """Tasks one after the other, before any cell: two cells must not export the same one."""
        exported: set[str] = set()
        for cell in list(self.waiting.values()):
            settings = cell.settings
            key = repr((settings.data.identity(), settings.task, settings.export, settings.engine))
            if key not in exported:
                # Where it fails the next one that shares it meets the error, too.
                done = self._drain(executor, iter([self._job(cell, export_only=True)]))
                exported |= {key for ended in done if ended.error is None}
        self._drain(executor, (self._job(cell) for cell in list(self.waiting.values())))

    def _job(self, cell: Cell, *, export_only: bool = False) -> Job:
        return Job(
            cell,
            self.cells_dir,
            self.spread,
            callbacks=self.callbacks,
            export_only=export_only,
        )

    def _drain(self, executor: Executor, jobs: Iterator[Job]) -> list[Ended]:
        """Begin these jobs as places come free, until all have ended."""
        ended: list[Ended] = []
        at_work = 0
        again: list[Job] = []
        following = next(jobs, None)
        while at_work or again or following is not None:
            while executor.free and (again or following is not None):
                if again:
                    executor.begin(again.pop())
                elif following is not None:
                    executor.begin(following)
                    following = next(jobs, None)
                at_work += 1
            for event in executor.events():
                if isinstance(event, Said):
                    self.observer.progressed(event.job.cell, event.progress)
                    continue
                at_work -= 1
                if event.lost and self._try_again(event.job):
                    again.append(event.job)
                else:
                    ended.append(event)
                    self._collect(event)
        return ended

    def _try_again(self, job: Job) -> bool:
        self.deaths[job.cell.digest] += 1
        if self.deaths[job.cell.digest] <= _DEATHS_AT_MOST:
            return True
        raise FedvoiceError(
            ErrorCode.CLIENT_LOST,
            where="the worker processes of an experiment",
            got=f"they ended again and again at {job.cell.name}, as out-of-memory processes do",
            wanted="workers that finish their cells",
            next_step=f"See {self.cells_dir / WORKER_LOG}; run with fewer --jobs: finished "
            "cells are kept.",
        )

    def _collect(self, event: Ended) -> None:
        digest, error = event.job.cell.digest, event.error
        if error is not None and not isinstance(error, FedvoiceError):
            raise error
        if error is not None:
            cell = self.waiting.pop(digest)
            self.failures[digest] = Failure(cell, error)
            self.observer.finished(cell, None, error)
        elif event.outcome is not None:
            self.outcomes[digest] = event.outcome
            self.observer.finished(self.waiting.pop(digest), event.outcome, None)

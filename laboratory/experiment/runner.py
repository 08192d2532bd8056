"""Run an experiment's cells in worker processes, those that are done already left alone.

    CELLS/<digest>/       one folder a cell, whatever experiment asked for it
    CELLS/tasks/<key>/    exported tasks
    CELLS/worker.log      what the runtime and the exporter print

A cell that fails does not stop the others. Ctrl-C, a killed worker or a killed parent cost at most
what was trained since the last checkpoint: the same command goes on.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from fedvoice.laboratory.experiment.cells import Cell
from fedvoice.laboratory.experiment.kept import read_outcome
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import (
    Interrupted,
    Progress,
    PruneRule,
)
from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
    make_folder,
)
from fedvoice.simulation.processes import undisturbed
from fedvoice.simulation.workers.spread import (
    HERE,
    Spread,
)

WORKER_LOG = "worker.log"
_SPAWN = multiprocessing.get_context("spawn")
_POLL_SECS = 0.2
_RESTARTS_AT_MOST = 3
_GRACE_SECS = 10.0


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


def cell_dir(cells_dir: Path, cell: Cell) -> Path:
    """Where a cell's results lie."""
    return cells_dir / cell.digest[:20]


def run_cells(
    cells: Sequence[Cell],
    cells_dir: Path,
    jobs: int,
    observer: Observer,
    spread: Spread = HERE,
) -> Gathered:
    """Run what is not done yet, `jobs` cells at a time; equal cells once.

    Args:
        spread: with `ray` cells run on the cluster that this process is connected to.

    Raises:
        KeyboardInterrupt: after the workers have kept their checkpoints.
        FedvoiceError: `client-lost` if workers die again and again.
    """
    outcomes: dict[str, Outcome] = {}
    waiting: dict[str, Cell] = {}
    for cell in cells:
        if cell.digest in outcomes:
            continue
        done = read_outcome(cell, cell_dir(cells_dir, cell))
        if done is None:
            waiting.setdefault(cell.digest, cell)
        else:
            outcomes[cell.digest] = done
            observer.finished(cell, done, None)
    failures: dict[str, Failure] = {}
    restarts = 0
    while waiting:
        try:
            run_waiting = _run_waiting_on_ray if spread.ray else _run_waiting
            run_waiting(waiting, outcomes, failures, cells_dir, jobs, observer, spread)
        except BrokenProcessPool as error:
            restarts += 1
            if restarts > _RESTARTS_AT_MOST:
                raise FedvoiceError(
                    ErrorCode.CLIENT_LOST,
                    where="the worker processes of an experiment",
                    got="they ended again and again, as out-of-memory processes do",
                    wanted="workers that finish their cells",
                    next_step=f"See {cells_dir / WORKER_LOG}; run with fewer --jobs: finished "
                    "cells are kept.",
                ) from error
    return Gathered(
        # Two arms may share a cell: each has it under its own name.
        [replace(outcomes[c.digest], cell=c) for c in cells if c.digest in outcomes],
        list(failures.values()),
    )


def _run_waiting(
    waiting: dict[str, Cell],
    outcomes: dict[str, Outcome],
    failures: dict[str, Failure],
    cells_dir: Path,
    jobs: int,
    observer: Observer,
    spread: Spread,
) -> None:
    log_path = cells_dir / WORKER_LOG
    with worker_pool(min(jobs, len(waiting)), log_path) as (pool, messages):
        _export_tasks(pool, waiting, failures, cells_dir, messages, observer)
        running = {
            pool.submit(work_on, cell, cells_dir, spread=spread): digest
            for digest, cell in waiting.items()
        }
        while running:
            done, _ = wait(running, timeout=_POLL_SECS, return_when=FIRST_COMPLETED)
            _tell(messages, waiting, observer)
            for future in done:
                digest = running.pop(future)
                _collect(future, digest, waiting, outcomes, failures, observer)


def _run_waiting_on_ray(
    waiting: dict[str, Cell],
    outcomes: dict[str, Outcome],
    failures: dict[str, Failure],
    cells_dir: Path,
    jobs: int,
    observer: Observer,
    spread: Spread,
) -> None:
    from fedvoice.laboratory.experiment.ray_cells import (
        RayCells,
        write_files,
    )

    with worker_pool(1, cells_dir / WORKER_LOG) as (pool, messages):
        _export_tasks(pool, waiting, failures, cells_dir, messages, observer)
    remote, to_begin = RayCells(cells_dir, spread), list(waiting.values())
    try:
        while waiting:
            while to_begin and len(remote) < jobs:
                remote.begin(to_begin.pop(0))
            done = remote.finished()
            for digest, progress in remote.messages():
                if digest in waiting:
                    observer.progressed(waiting[digest], progress)
            for digest, result in done:
                cell, outcome, error = waiting.pop(digest), None, None
                if isinstance(result, FedvoiceError):
                    error = result
                    failures[digest] = Failure(cell, error)
                else:
                    write_files(cell_dir(cells_dir, cell), result)
                    outcome = read_outcome(cell, cell_dir(cells_dir, cell))
                    assert outcome is not None, "a finished cell has its files"
                    outcomes[digest] = outcome
                observer.finished(cell, outcome, error)
    finally:
        remote.stop()


def _export_tasks(
    pool: ProcessPoolExecutor,
    waiting: dict[str, Cell],
    failures: dict[str, Failure],
    cells_dir: Path,
    messages: queue.Queue[tuple[str, Progress]],
    observer: Observer,
) -> None:
    """Tasks one after the other, before any cell: two cells must not export the same one."""
    exported: set[str] = set()
    for digest, cell in list(waiting.items()):
        settings = cell.settings
        key = repr((settings.data.identity(), settings.task, settings.export, settings.engine))
        if key in exported:
            continue
        future = pool.submit(export_task_of, cell, cells_dir)
        while not future.done():
            wait([future], timeout=_POLL_SECS)
            _tell(messages, waiting, observer)
        error = future.exception()
        if error is None:
            exported.add(key)  # else the next one that shares it meets the error here, too
        elif isinstance(error, FedvoiceError):
            failures[digest] = Failure(cell, error)
            observer.finished(waiting.pop(digest), None, error)
        else:
            raise error


def _collect(
    future: Future[Outcome | None],
    digest: str,
    waiting: dict[str, Cell],
    outcomes: dict[str, Outcome],
    failures: dict[str, Failure],
    observer: Observer,
) -> None:
    error = future.exception()
    if isinstance(error, FedvoiceError):
        cell = waiting.pop(digest)
        failures[digest] = Failure(cell, error)
        observer.finished(cell, None, error)
        return
    outcome = future.result()
    if outcome is not None:
        outcomes[digest] = outcome
        observer.finished(waiting.pop(digest), outcome, None)


def _tell(
    messages: queue.Queue[tuple[str, Progress]], waiting: dict[str, Cell], observer: Observer
) -> None:
    while True:
        try:
            digest, progress = messages.get_nowait()
        except queue.Empty:
            return
        if digest in waiting:
            observer.progressed(waiting[digest], progress)


@contextmanager
def worker_pool(
    workers: int, log_path: Path | None = None
) -> Iterator[tuple[ProcessPoolExecutor, Any]]:
    """Processes for `work_on`, and a queue of (digest, Progress). An exception in the block, Ctrl-C
    above all, stops them: cells keep their checkpoints, and what waits is not begun.

    Args:
        log_path: what they and the runtime print, appended; None: where this process prints.
    """
    stopping = _SPAWN.Event()
    messages = _SPAWN.Queue()
    if log_path is not None:
        make_folder(log_path.parent)
    with ProcessPoolExecutor(
        workers,
        mp_context=_SPAWN,
        initializer=_begin,
        initargs=(messages, stopping, os.getpid(), log_path),
    ) as pool:
        # Each task starts a process, until there are all. They inherit that Ctrl-C is ignored, so
        # that none falls over it while it still imports; the parent decides.
        with undisturbed():
            for _ in range(workers):
                pool.submit(os.getpid)
        try:
            yield pool, messages
        except BaseException:  # else the pool first runs whatever is left, for hours and unseen
            stopping.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


# In a worker

_report: Callable[[str, Progress], None] = lambda digest, progress: None  # noqa: E731
_should_stop: Callable[[], bool] = lambda: False  # noqa: E731


def _begin(messages: Any, stopping: Any, parent_pid: int, log_path: Path | None) -> None:
    global _report, _should_stop
    if log_path is not None:
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream in (1, 2):
            os.dup2(log, stream)
    # PyTorch takes seconds: all workers load it side by side, and their parent never does.
    import fedvoice.laboratory.experiment.run  # noqa: F401

    def report(digest: str, progress: Progress) -> None:
        messages.put((digest, progress))

    _report = report
    _should_stop = lambda: stopping.is_set() or os.getppid() != parent_pid  # noqa: E731
    threading.Thread(target=_leave_with, args=(parent_pid,), daemon=True).start()


def _leave_with(parent_pid: int) -> None:
    """End this process some time after its parent: a worker that waits for work does not see that
    nobody will bring any, and one at work keeps its checkpoint first."""
    while os.getppid() == parent_pid:
        time.sleep(1.0)
    time.sleep(_GRACE_SECS)
    os._exit(1)


def export_task_of(cell: Cell, cells_dir: Path) -> None:
    """Export a cell's task, if that has not been done.

    Raises:
        Interrupted: between two parts of the work, when all is to stop.
    """
    from fedvoice.laboratory.experiment.run import cell_task

    def report(progress: Progress) -> None:
        if _should_stop():
            raise Interrupted
        _report(cell.digest, progress)

    cell_task(cell, cells_dir / "tasks", report)


def work_on(
    cell: Cell, cells_dir: Path, prune: PruneRule | None = None, spread: Spread = HERE
) -> Outcome | None:
    """The outcome, or None if it was stopped.

    Raises:
        Pruned: `prune` said so.
    """
    from fedvoice.laboratory.experiment.run import run_cell

    try:
        return run_cell(
            cell,
            cell_dir(cells_dir, cell),
            cells_dir / "tasks",
            lambda progress: _report(cell.digest, progress),
            _should_stop,
            prune,
            spread,
        )
    except Interrupted:
        return None

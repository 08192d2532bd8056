"""An experiment's cells as tasks of a Ray cluster.

A cell runs in a folder of its own on whatever machine takes it, and its files come back when it is
done. So machines need no disk in common, an interrupted or lost cell begins again, and commands
that want the same cell do not wait for each other. Corpora must lie at the same path on all
machines.
"""

from __future__ import annotations

import os
import queue
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedvoice.laboratory.experiment.cells import Cell
from fedvoice.laboratory.experiment.kept import CELL_FILE
from fedvoice.laboratory.experiment.lock import LOCK_FILE
from fedvoice.laboratory.experiment.progress import Progress
from fedvoice.laboratory.experiment.run import (
    cell_task,
    run_cell,
)
from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
)
from fedvoice.protocol.files import write_file
from fedvoice.simulation.workers.ray_pool import (
    cause_of,
    go_to,
    load_ray,
)
from fedvoice.simulation.workers.spread import Spread

_POLL_SECS = 0.2
_TRIES = 3

Files = Mapping[str, bytes]
"""A folder's files by name."""


@dataclass(frozen=True)
class RemoteCell:
    """A cell for another machine. task: its package's folder name and files; "" if it has none."""

    cell: Cell
    task_name: str
    task: Files
    spread: Spread
    folder: str
    """The driver's working directory."""


class RayCells:
    """Cells at work on the cluster that this process is connected to."""

    def __init__(self, cells_dir: Path, spread: Spread) -> None:
        from ray.util.queue import Queue

        self._ray = load_ray()
        self._tasks_dir, self._spread = cells_dir / "tasks", spread
        self._messages = Queue(actor_options={"num_cpus": 0})
        # With workers of its own a cell only waits and evaluates: the cores are for them.
        cores = 1 if spread.workers == 1 else 0
        self._run = self._ray.remote(num_cpus=cores, max_retries=_TRIES)(run_remote)
        self._at_work: dict[Any, str] = {}

    def __len__(self) -> int:
        """Cells at work."""
        return len(self._at_work)

    def begin(self, cell: Cell) -> None:
        """Give a cell to the cluster; its task has been exported."""
        package_dir = cell_task(cell, self._tasks_dir, lambda progress: None).package_dir
        name, files = ("", {}) if package_dir is None else (package_dir.name, _read(package_dir))
        remote = RemoteCell(cell, name, files, self._spread, os.getcwd())
        self._at_work[self._run.remote(remote, self._messages)] = cell.digest

    def finished(self) -> list[tuple[str, Files | FedvoiceError]]:
        """Cells by digest that ended within the next moment: their files, or why there are none.

        Raises:
            Exception: of another kind than people can cause.
        """
        done, _ = self._ray.wait(
            list(self._at_work), num_returns=len(self._at_work), timeout=_POLL_SECS
        )
        return [(self._at_work.pop(reference), self._result(reference)) for reference in done]

    def messages(self) -> list[tuple[str, Progress]]:
        """What cells have said since the last time: (digest, progress)."""
        return list(self._messages.get_nowait_batch(self._messages.qsize()))

    def stop(self) -> None:
        """End everything; what is not finished is lost."""
        for reference in self._at_work:
            self._ray.cancel(reference, force=True)
        self._messages.shutdown()

    def _result(self, reference: Any) -> Files | FedvoiceError:
        try:
            files: Files = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = cause_of(error)
            if isinstance(cause, FedvoiceError):
                return cause
            raise
        except self._ray.exceptions.RayError as error:
            return _lost(error)
        return files


def run_remote(remote: RemoteCell, messages: Any) -> Files:
    """On any machine: run the cell from its beginning; the files of its folder."""
    go_to(remote.folder)

    def report(progress: Progress) -> None:
        try:
            messages.put_nowait((remote.cell.digest, progress))
        except queue.Full:
            return

    with tempfile.TemporaryDirectory(prefix="fedvoice-cell-") as name:
        directory, tasks_dir = Path(name) / "cell", Path(name) / "tasks"
        if remote.task_name:
            write_files(tasks_dir / remote.task_name, remote.task)
        run_cell(remote.cell, directory, tasks_dir, report, lambda: False, spread=remote.spread)
        return _read(directory)


def write_files(directory: Path, files: Files) -> None:
    """Into a folder, the one last whose presence says that a cell is done.

    Each is replaced in one step: another command may have run the same cell, and read it now.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda name: name == CELL_FILE):
        write_file(directory / name, files[name], writer=f".{os.getpid()}")


def _read(directory: Path) -> Files:
    files = (p for p in directory.iterdir() if p.is_file() and p.name != LOCK_FILE)
    return {path.name: path.read_bytes() for path in files}


def _lost(error: Exception) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.CLIENT_LOST,
        where="a cell on the Ray cluster",
        got=str(error).splitlines()[0][:200],
        wanted=f"a machine that finishes it within {_TRIES + 1} tries",
        next_step="See that the cluster's machines live and have memory; run it again.",
    )

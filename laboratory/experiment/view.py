"""Progress of an experiment: bars with remaining time on a terminal, a line a cell elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from laboratory.experiment import run
from laboratory.experiment.cells import Cell, Metric
from laboratory.experiment.outcome import Outcome
from protocol.errors import FedvoiceError


class ExperimentView:
    """An `Observer` for people. A context manager."""

    def __init__(self, console: Console, cells: int, metric: Metric) -> None:
        self._console, self._metric, self._cells = console, metric, cells
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._all = self._bars.add_task("cells", total=cells, note="")
        self._running: dict[str, TaskID] = {}
        self._done = 0

    def __enter__(self) -> ExperimentView:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def progressed(self, cell: Cell, progress: run.Progress) -> None:
        """See `runner.Observer`."""
        if cell.digest not in self._running:
            self._running[cell.digest] = self._bars.add_task(f"  {cell.name}", total=None, note="")
        self._bars.update(
            self._running[cell.digest],
            total=progress.rounds,
            completed=progress.done,
            note=progress.note,
        )

    def finished(self, cell: Cell, outcome: Outcome | None, error: FedvoiceError | None) -> None:
        """See `runner.Observer`."""
        self._done += 1
        self._bars.update(self._all, completed=self._done)
        if cell.digest in self._running:
            self._bars.remove_task(self._running.pop(cell.digest))
        self._console.print(
            f"[{self._done}/{self._cells}] {cell.name}: {self._told(outcome, error)}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def _told(self, outcome: Outcome | None, error: FedvoiceError | None) -> str:
        if outcome is None:
            return f"failed, {error}"
        rate = outcome.figure(self._metric)
        rounds = len(outcome.results.rounds)
        shown = "not evaluated" if rate is None else f"{rate:.2f} %"
        return f"{shown} after {rounds} rounds, {outcome.results.final.get('secs', 0.0):.0f} s"

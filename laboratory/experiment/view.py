"""The output of `fedvoice experiment`: progress, the unfinished trials, the table.

On a terminal progress is shown as bars with the remaining time, elsewhere as a line a trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType

from rich import box
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
from rich.table import Table

from fedvoice.laboratory.experiment.forecast import Standing, remaining_secs, took_secs
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import TrialProgress
from fedvoice.laboratory.experiment.summary import Line, summary_markdown, table_heads, table_rows
from fedvoice.laboratory.experiment.trials import Metric, Trial
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.simulation.abandoned import stuck

_WIDE = 120
_ONLY_WHEN_WIDE = {"steps", "CFMQ GB: bytes", "memory x steps", "secs a trial"}


class ExperimentView:
    """An `Observer` that prints. A context manager."""

    def __init__(self, console: Console, trials: int, metric: Metric) -> None:
        self._console, self._metric, self._trials = console, metric, trials
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
        self._all = self._bars.add_task("trials", total=trials, note="")
        self._running: dict[str, TaskID] = {}
        self._done = 0
        self._said: set[str] = set()

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

    def progressed(self, trial: Trial, progress: TrialProgress) -> None:
        """See `runner.Observer`. What trials say in the same words is printed once."""
        if progress.said:
            if progress.said not in self._said:
                self._said.add(progress.said)
                self._console.print(progress.said, highlight=False, markup=False, soft_wrap=True)
            return
        if trial.digest not in self._running:
            self._running[trial.digest] = self._bars.add_task(
                f"  {trial.name}", total=None, note=""
            )
        self._bars.update(
            self._running[trial.digest],
            total=progress.rounds,
            completed=progress.done,
            note=progress.note,
        )

    def finished(self, trial: Trial, outcome: Outcome | None, error: FedvoiceError | None) -> None:
        """See `runner.Observer`."""
        self._done += 1
        self._bars.update(self._all, completed=self._done)
        if trial.digest in self._running:
            self._bars.remove_task(self._running.pop(trial.digest))
        self._console.print(
            f"[{self._done}/{self._trials}] {trial.name}: {self._told(outcome, error)}",
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
        end = ", no update accepted in the last ones" if stuck(outcome.results.rounds) else ""
        return f"{shown} after {rounds} rounds{end}, {took_secs(outcome):.0f} s"


def show_summary(console: Console, lines: Sequence[Line]) -> None:
    """The table of results: drawn on a terminal, as Markdown with whole lines elsewhere."""
    if not console.is_terminal:
        console.print(summary_markdown(lines), highlight=False, markup=False, soft_wrap=True)
        return
    rows = table_rows(lines)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = []
    for place, head in enumerate(table_heads(lines)):
        empty = not any(row[place] for row in rows)
        if empty or (console.width < _WIDE and head in _ONLY_WHEN_WIDE):
            continue
        shown.append(place)
        whole = "CFMQ GB" if head == "total" else head
        table.add_column(whole, justify="right" if place else "left", overflow="fold")
    for row in rows:
        table.add_row(*(row[place] for place in shown))
    console.print(table, highlight=False, markup=False)


def show_plan(console: Console, standings: Sequence[Standing], jobs: int) -> None:
    """A line a trial, and how long the rest takes."""
    for standing in standings:
        if standing.secs is not None:
            state, secs = "done", f"{standing.secs:.0f} s"
        else:
            state = "begun" if standing.begun else "to do"
            expected = standing.expected_secs
            secs = "" if expected is None else f"about {expected:.0f} s"
        line = f"{state:<6} {secs:>12}  {standing.trial.name}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    left = [standing for standing in standings if not standing.done]
    remaining = remaining_secs(standings, jobs)
    if not left:
        told = "all of them are done"
    elif remaining is None:
        told = (
            f"{len(left)} of {len(standings)} to do; their time is unknown until one has finished"
        )
    else:
        duration = timedelta(seconds=round(remaining))
        told = f"{len(left)} of {len(standings)} to do: about {duration} with {jobs} at a time"
    console.print(told, highlight=False, soft_wrap=True)

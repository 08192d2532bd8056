"""The live table of a simulation: a table that redraws on a terminal, a line a round elsewhere."""

from __future__ import annotations

import re
import time
from types import TracebackType

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fedvoice.protocol.cost import human_bytes
from fedvoice.reporting.results import Books, RoundResult

_COUNT = re.compile(r":? *\d+ of \d+.*$")
_ROWS_SHOWN = 16
_ROOMY_COLUMNS = 104
_COLUMNS_WITH_CER = 116
"""Width from which a terminal has room for it."""
_COLUMNS = ["round", "cohort", "loss", "WER %", "held-out %", "CER %", "down", "up", "steps"]
_COLUMNS += ["CFMQ comm.", "CFMQ comp.", "secs"]
_CER = _COLUMNS.index("CER %")


class PreparationView:
    """Shows the step being prepared: one changing line on a terminal, else a line a step."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("prepare")
        self._printed: set[str] = set()

    def __enter__(self) -> PreparationView:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._status.stop()

    def show(self, what: str) -> None:
        """`what`: a step, perhaps followed by its progress, `: 3 of 60`."""
        if self._console.is_terminal:
            self._status.update(what)
        elif (step := _COUNT.sub("", what)) not in self._printed:
            self._printed.add(step)
            self._console.print(f"{step} ...", highlight=False)


class RoundTable:
    """Shows books as they grow. A context manager."""

    def __init__(self, console: Console, rounds: int) -> None:
        self._console, self._rounds = console, rounds
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._last: Books | None = None
        self._printed = 0
        self._started = time.monotonic()
        self._first_round: int | None = None

    def __enter__(self) -> RoundTable:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._last is not None:
            self._print_closed(self._last, self._last.rounds)

    def show(self, books: Books) -> None:
        """Draw the table, or print the rounds that are new."""
        if self._first_round is None:
            self._first_round = len(books.rounds)
        if self._live is not None:
            self._live.update(Group(self._table(books), self._status(books)), refresh=True)
            return
        # The newest round may still be waiting for its evaluation.
        self._print_closed(books, books.rounds[:-1])
        self._last = books

    def _print_closed(self, books: Books, rounds: list[RoundResult]) -> None:
        lines = [_cells(row) for row in rounds[self._printed :]]
        if rounds and not self._printed:
            lines = [_COLUMNS, *_initial(books), *lines]
        for cells in lines:
            text = " ".join(f"{cell:>10}" for cell in cells)
            self._console.print(text, soft_wrap=True, highlight=False)
        self._printed = max(self._printed, len(rounds))

    def _table(self, books: Books) -> Table:
        # At any width, 80 columns too, no number is cut.
        roomy = self._console.width >= _ROOMY_COLUMNS
        table = Table() if roomy else Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
        characters = self._console.width >= _COLUMNS_WITH_CER and _has_characters(books)
        places = [i for i in range(len(_COLUMNS)) if characters or i != _CER]
        for name in (_COLUMNS[i] for i in places):
            header = name if roomy else name.replace(" ", "\n").replace("-", "-\n")
            table.add_column(header, justify="right", no_wrap=True)
        for cells in _initial(books):
            table.add_row(*(cells[i] for i in places if i < len(cells)))
        evaluated = [r for r in books.rounds if r.wer is not None or r.heldout_wer is not None]
        shown = sorted(
            {r.round: r for r in evaluated[-_ROWS_SHOWN // 2 :] + books.rounds[-8:]}.values(),
            key=lambda r: r.round,
        )
        for row in shown:
            cells = _cells(row)
            table.add_row(*(cells[i] for i in places))
        return table

    def _status(self, books: Books) -> Text:
        done = len(books.rounds)
        fresh = done - (self._first_round or 0)
        elapsed = time.monotonic() - self._started
        text = f"round {done} of {self._rounds}, {elapsed:.0f} s"
        if fresh > 0 and done < self._rounds:
            text += f", about {elapsed / fresh * (self._rounds - done):.0f} s left"
        elif not done:
            text += ", phones are checking in"
        return Text(text)


def _cells(row: RoundResult) -> list[str]:
    return [
        str(row.round),
        str(row.clients),
        "" if row.loss is None else f"{row.loss:.3f}",
        _percent(row.wer),
        _percent(row.heldout_wer),
        _percent(row.cer if row.cer is not None else row.heldout_cer),
        human_bytes(row.bytes_down),
        human_bytes(row.bytes_up),
        str(row.steps),
        human_bytes(row.cfmq_communication_bytes),
        human_bytes(row.cfmq_compute_bytes),
        f"{row.wall_secs:.1f}",
    ]


def _initial(books: Books) -> list[list[str]]:
    """The row of the model before training, where it was evaluated."""
    if books.initial_wer is None and books.initial_heldout_wer is None:
        return []
    cer = books.initial_cer if books.initial_cer is not None else books.initial_heldout_cer
    rates = (books.initial_wer, books.initial_heldout_wer, cer)
    return [["0", "", "", *map(_percent, rates)]]


def _has_characters(books: Books) -> bool:
    rates = [books.initial_cer, books.initial_heldout_cer]
    rates += [rate for row in books.rounds for rate in (row.cer, row.heldout_cer)]
    return any(rate is not None for rate in rates)


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.1f}"

"""`csv`: a run as three tables, for spreadsheets and pandas.

FOLDER/csv/settings.csv      name, value: hyper-parameters, facts, at the end `final/...`
FOLDER/csv/rounds.csv        a line a round, the fields of `RoundResult`
FOLDER/csv/evaluations.csv   round, rate, percent
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from fedvoice.reporting.callbacks import RoundEnd
from fedvoice.reporting.results import Results, RoundResult
from fedvoice.reporting.trackers.tracker import Opening, Tracker, final_figures

CSV_DIR = "csv"
_ROUNDS = [own.name for own in fields(RoundResult)]
_EVALUATIONS = ["round", "rate", "percent"]
_SETTINGS = ["name", "value"]


class Csv(Tracker):
    """See the module. folder: instead of the run's own."""

    def __init__(self, folder: str = "") -> None:
        super().__init__()
        self._folder = Path(folder)
        self._given = bool(folder)

    def open(self, opening: Opening) -> None:
        """See `Tracker`. Of a resumed run the rounds that are done stay."""
        if not self._given:
            self._folder = opening.folder / CSV_DIR
        self._folder.mkdir(parents=True, exist_ok=True)
        facts = [("stated", fact) for fact in opening.facts]
        _write(self._path("settings"), _SETTINGS, [*opening.settings.items(), *facts])
        for name, heads in (("rounds", _ROUNDS), ("evaluations", _EVALUATIONS)):
            _keep(self._path(name), heads, opening.run.done)

    def write(self, end: RoundEnd, figures: Mapping[str, float]) -> None:
        """See `Tracker`."""
        row = asdict(end.result)
        _append(self._path("rounds"), [[row[name] for name in _ROUNDS]])
        rates = [[end.result.round, name, rate] for name, rate in end.rates.items()]
        _append(self._path("evaluations"), rates)

    def close(self, results: Results, files: list[Path], weights: Path | None) -> None:
        """See `Tracker`."""
        paths = [*files, *([weights] if weights is not None else [])]
        rows = [*final_figures(results).items(), *(("artefact", str(path)) for path in paths)]
        _append(self._path("settings"), rows)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.csv"


def _write(path: Path, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([heads, *rows])


def _append(path: Path, rows: Iterable[Sequence[object]]) -> None:
    with path.open("a", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _keep(path: Path, heads: Sequence[str], done: int) -> None:
    """Keep the rows of rounds that are done; anew if the columns are others."""
    rows: list[list[str]] = []
    if path.is_file() and done:
        with path.open(encoding="utf-8", newline="") as file:
            kept = list(csv.reader(file))
        if kept[:1] == [list(heads)]:
            # A last line that a crash cut short is no row.
            whole = [row for row in kept[1:] if len(row) == len(heads)]
            rows = [row for row in whole if int(row[0]) <= done]
    _write(path, heads, rows)

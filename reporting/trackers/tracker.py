"""What all trackers do: collect what is told of a run, and pass on what every tool can hold."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fedvoice.protocol.errors import ErrorCode, FedvoiceError, missing_extra, system_error
from fedvoice.protocol.task import WEIGHTS_FILE
from fedvoice.reporting.callbacks import Callback, RoundEnd, RunInfo
from fedvoice.reporting.results import RESULTS_FILE, Results

_LONGEST_CHARACTERS = 500
"""Of a setting's value: the shortest limit of the tools (MLflow, older servers)."""
_ARTEFACTS = (RESULTS_FILE, "report.html")
FINAL = "final"
"""What the figures of a whole run are called: final/wer."""


@dataclass(frozen=True)
class Opening:
    """A run that a tracker is told of. settings: dotted name -> value. facts: what was stated
    before its first round. folder: where the tracker may write."""

    run: RunInfo
    settings: Mapping[str, str | int | float | bool]
    facts: tuple[str, ...]
    folder: Path


class Tracker(Callback):
    """A callback that keeps a run in a tool's own form.

    Nothing is written before the run begins. A run that is resumed goes on in the same record;
    rounds that were told before and are run again replace the earlier ones.
    """

    def __init__(self) -> None:
        self._facts: list[str] = []
        self._opened: Opening | None = None

    def stated(self, what: str) -> None:
        """See `Callback`."""
        self._facts.append(what)

    def began(self, run: RunInfo) -> None:
        """See `Callback`."""
        folder = run.folder if run.folder is not None else Path()
        self._opened = Opening(run, dict(flattened(run.config)), tuple(self._facts), folder)
        with self._naming():
            self.open(self._opened)

    def round_ended(self, end: RoundEnd) -> bool:
        """See `Callback`."""
        with self._naming():
            self.write(end, figures_of(end))
        return False

    def ended(self, results: Results) -> None:
        """See `Callback`."""
        assert self._opened is not None, "a run begins before it ends"
        folder = self._opened.run.folder
        files = [] if folder is None else [folder / name for name in _ARTEFACTS]
        weights = None if folder is None else folder / WEIGHTS_FILE
        if weights is not None and not weights.is_file():
            weights = None
        with self._naming():
            self.close(results, [file for file in files if file.is_file()], weights)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Turn what the tool raises into an error that names it.

        Raises:
            FedvoiceError: `bad-plugin`; `no-space` and `not-writable` of files.
        """
        try:
            yield
        except FedvoiceError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.filename:  # not one of a connection
                raise system_error(error) from error
            tool = type(self).__name__
            raise FedvoiceError(
                ErrorCode.BAD_PLUGIN,
                where=f"tracker {tool}",
                got=f"{type(error).__name__}: {str(error)[:500]}",
                wanted=f"a {tool} that takes what it is told",
                next_step="Correct its settings. What was trained is kept: the same command, also "
                "without this --log, resumes the run.",
            ) from error

    @abstractmethod
    def open(self, opening: Opening) -> None:
        """The run has begun, or is resumed."""

    @abstractmethod
    def write(self, end: RoundEnd, figures: Mapping[str, float]) -> None:
        """A round has ended; figures: its numbers, and the error rates of its evaluation."""

    @abstractmethod
    def close(self, results: Results, files: list[Path], weights: Path | None) -> None:
        """The run has ended. files: to be kept with it. weights: too large for that; its path."""


def flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings as (dotted name, text, number or truth value); lists are JSON, long texts cut."""
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flattened(value, f"{name}.")
        elif isinstance(value, bool | int | float):
            yield name, value
        elif value is not None:
            text = json.dumps(value, default=str) if isinstance(value, list | tuple) else str(value)
            cut = len(text) > _LONGEST_CHARACTERS
            yield name, f"{text[: _LONGEST_CHARACTERS - 3]}..." if cut else text


def figures_of(end: RoundEnd) -> dict[str, float]:
    """A round's numbers and its error rates, by name; the round's own number is the step."""
    figures = {
        name: float(value)
        for name, value in asdict(end.result).items()
        if isinstance(value, int | float) and name != "round"
    }
    return {**figures, **end.rates}


def final_figures(results: Results) -> dict[str, float]:
    """The numbers of a whole run, `final/...`."""
    return {
        f"{FINAL}/{name}": float(value)
        for name, value in flattened(results.final)
        if isinstance(value, bool | int | float)
    }


def demand(package: str, extra: str) -> None:
    """See that a tracker's package is there; nothing is imported yet.

    Raises:
        FedvoiceError: `missing-extra`.
    """
    if find_spec(package) is None:
        raise missing_extra(
            extra,
            where=f"callback {extra}",
            got=f"no {package} package",
            wanted=package,
        )

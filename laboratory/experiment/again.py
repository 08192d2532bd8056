"""Reports of experiments that were run earlier: one each, or one of several."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedvoice.laboratory.experiment.config import ExperimentConfig
from fedvoice.laboratory.experiment.kept import read_outcome
from fedvoice.laboratory.experiment.progress import trial_dir
from fedvoice.laboratory.experiment.report import EXPERIMENT_FILE, table_lines, write_tables
from fedvoice.laboratory.experiment.runner import Gathered
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

_TABLES = ("trials.csv", "cells.csv")
"""One line a finished trial; the second is its name in 0.1.0."""


def is_experiment(folder: Path) -> bool:
    """Whether `fedvoice experiment run` wrote this folder."""
    return (folder / EXPERIMENT_FILE).is_file()


def render_again(folder: Path, trials_dir: Path | None = None) -> Path:
    """Write an experiment's tables and report once more; the report's path.

    Args:
        trials_dir: where its trials are; None: where they were, or beside it.

    Raises:
        FedvoiceError: `not-found`, `bad-config`; the tables stay as they are.
    """
    config, gathered = read_experiment(folder, trials_dir)
    return write_tables(folder, [config], gathered, table_lines(config, gathered))


def combine(folders: Sequence[Path], out: Path, trials_dir: Path | None = None) -> Path:
    """One report of several experiments, whose arms are called EXPERIMENT/ARM; its path.

    Figures show the first experiment's metric.

    Raises:
        FedvoiceError: `not-found`, `bad-config`.
    """
    found = [read_experiment(folder, trials_dir) for folder in folders]
    lines, outcomes = [], []
    for config, gathered in found:
        name = config.name
        for line in table_lines(config, gathered):
            lines.append(replace(line, arm=f"{name}/{line.arm}", label=f"{name}: {line.label}"))
        for outcome in gathered.outcomes:
            trial = replace(outcome.trial, arm=f"{name}/{outcome.trial.arm}")
            outcomes.append(replace(outcome, trial=trial))
    return write_tables(out, [config for config, _ in found], Gathered(outcomes, []), lines)


def read_experiment(
    folder: Path, trials_dir: Path | None = None
) -> tuple[ExperimentConfig, Gathered]:
    """Read an experiment's folder and its trials; unfinished trials are left out.

    Raises:
        FedvoiceError: `not-found`, also if a trial that its tables count is not there;
            `bad-config`.
    """
    path = folder / EXPERIMENT_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        config = ExperimentConfig.model_validate(fields["config"])
        places = [trials_dir] if trials_dir else list(_places(folder, fields))
        trials = config.trials(str(path))
        digests = fields.get("digests") or [""] * len(trials)  # absent in earlier versions
        trials = [replace(trial, kept_as=kept) for trial, kept in zip(trials, digests, strict=True)]
    except OSError as error:
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=str(path),
            got=str(error.strerror),
            wanted="the folder of an experiment",
            next_step="Point at a folder that `fedvoice experiment run --out` wrote.",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=str(path),
            got=f"{type(error).__name__}: {error}",
            wanted="an experiment of this version of fedvoice",
            next_step="Run the experiment again: finished trials are kept.",
        ) from error
    found = [_gathered(trials, place) for place in places]
    best = max(found, key=lambda gathered: len(gathered.outcomes))
    known = _finished_before(folder, fields)
    if len(best.outcomes) < known:
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=str(folder),
            got=f"{len(best.outcomes)} finished trials in {', '.join(map(str, places))}",
            wanted=f"the {known} that its tables have",
            next_step="Name their folder: --trials-dir TRIALS. The tables and the report have "
            "been left as they were.",
        )
    return config, best


def _gathered(trials: Sequence[Trial], trials_dir: Path) -> Gathered:
    outcomes = [read_outcome(trial, trial_dir(trials_dir, trial)) for trial in trials]
    return Gathered([o for o in outcomes if o is not None], [], trials_dir)


def _places(folder: Path, fields: Mapping[str, Any]) -> Iterable[Path]:
    """Where its trials may be, likeliest first: folders are moved and copied, alone or with their
    neighbours."""
    if "trials_beside" in fields:
        yield folder / fields["trials_beside"]
    was = Path(fields.get("trials_dir") or fields["cells_dir"])  # its name in 0.1.0
    yield folder.parent / was.name
    yield was


def _finished_before(folder: Path, fields: Mapping[str, Any]) -> int:
    """How many finished trials its tables have."""
    if "finished" in fields:
        return int(fields["finished"])
    for name in _TABLES:  # of an earlier version
        if (folder / name).is_file():
            with (folder / name).open(encoding="utf-8", newline="") as table:
                return max(0, sum(1 for row in csv.reader(table) if row) - 1)
    return 0

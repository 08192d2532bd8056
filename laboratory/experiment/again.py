"""Experiments that were run before: their reports once more, or one report of several."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from laboratory.experiment.config import ExperimentConfig
from laboratory.experiment.kept import read_outcome
from laboratory.experiment.report import (
    EXPERIMENT_FILE,
    table_lines,
    write_experiment,
    write_tables,
)
from laboratory.experiment.runner import Gathered, cell_dir
from protocol.errors import ErrorCode, FedvoiceError


@dataclass(frozen=True)
class Earlier:
    """An experiment's folder, read; cells that are not done are left out."""

    config: ExperimentConfig
    cells_dir: Path
    gathered: Gathered


def is_experiment(folder: Path) -> bool:
    """Whether `fedvoice experiment run` wrote this folder."""
    return (folder / EXPERIMENT_FILE).is_file()


def render_again(folder: Path) -> Path:
    """Write an experiment's tables and report once more; the report's path.

    Raises:
        FedvoiceError: `not-found`, `bad-config`.
    """
    earlier = read_experiment(folder)
    return write_experiment(folder, earlier.config, earlier.cells_dir, earlier.gathered)


def combine(folders: Sequence[Path], out: Path) -> Path:
    """One report of several experiments, whose arms are called EXPERIMENT/ARM; its path.

    The first experiment's metric ranks them all.

    Raises:
        FedvoiceError: `not-found`, `bad-config`.
    """
    found = [read_experiment(folder) for folder in folders]
    lines, outcomes = [], []
    for earlier in found:
        name = earlier.config.name
        for line in table_lines(earlier.config, earlier.gathered):
            lines.append(replace(line, arm=f"{name}/{line.arm}", label=f"{name}: {line.label}"))
        for outcome in earlier.gathered.outcomes:
            cell = replace(outcome.cell, arm=f"{name}/{outcome.cell.arm}")
            outcomes.append(replace(outcome, cell=cell))
    return write_tables(out, [earlier.config for earlier in found], Gathered(outcomes, []), lines)


def read_experiment(folder: Path) -> Earlier:
    """What an experiment's folder and its cells hold.

    Raises:
        FedvoiceError: `not-found`, `bad-config`.
    """
    path = folder / EXPERIMENT_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        config = ExperimentConfig.model_validate(fields["config"])
        cells_dir = Path(fields["cells_dir"])
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
            next_step="Run the experiment again: finished cells are kept.",
        ) from error
    cells = config.cells(str(path))
    outcomes = [read_outcome(cell, cell_dir(cells_dir, cell)) for cell in cells]
    return Earlier(config, cells_dir, Gathered([o for o in outcomes if o is not None], []))

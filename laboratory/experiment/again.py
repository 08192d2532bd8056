"""Reports of experiments that were run earlier: one each, or one of several."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fedvoice.laboratory.experiment.config import ExperimentConfig
from fedvoice.laboratory.experiment.kept import read_outcome
from fedvoice.laboratory.experiment.progress import trial_dir
from fedvoice.laboratory.experiment.report import EXPERIMENT_FILE, table_lines, write_tables
from fedvoice.laboratory.experiment.runner import Gathered
from fedvoice.protocol.errors import ErrorCode, FedvoiceError


def is_experiment(folder: Path) -> bool:
    """Whether `fedvoice experiment run` wrote this folder."""
    return (folder / EXPERIMENT_FILE).is_file()


def render_again(folder: Path) -> Path:
    """Write an experiment's tables and report once more; the report's path.

    Raises:
        FedvoiceError: `not-found`, `bad-config`.
    """
    config, gathered = read_experiment(folder)
    return write_tables(folder, [config], gathered, table_lines(config, gathered))


def combine(folders: Sequence[Path], out: Path) -> Path:
    """One report of several experiments, whose arms are called EXPERIMENT/ARM; its path.

    Figures show the first experiment's metric.

    Raises:
        FedvoiceError: `not-found`, `bad-config`.
    """
    found = [read_experiment(folder) for folder in folders]
    lines, outcomes = [], []
    for config, gathered in found:
        name = config.name
        for line in table_lines(config, gathered):
            lines.append(replace(line, arm=f"{name}/{line.arm}", label=f"{name}: {line.label}"))
        for outcome in gathered.outcomes:
            trial = replace(outcome.trial, arm=f"{name}/{outcome.trial.arm}")
            outcomes.append(replace(outcome, trial=trial))
    return write_tables(out, [config for config, _ in found], Gathered(outcomes, []), lines)


def read_experiment(folder: Path) -> tuple[ExperimentConfig, Gathered]:
    """Read an experiment's folder and its trials; unfinished trials are left out.

    Raises:
        FedvoiceError: `not-found`, `bad-config`.
    """
    path = folder / EXPERIMENT_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        config = ExperimentConfig.model_validate(fields["config"])
        trials_dir = Path(fields.get("trials_dir") or fields["cells_dir"])  # its name in 0.1.0
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
    outcomes = [read_outcome(trial, trial_dir(trials_dir, trial)) for trial in trials]
    return config, Gathered([o for o in outcomes if o is not None], [], trials_dir)

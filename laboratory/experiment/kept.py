"""A finished trial on disk: `results.json`, and `trial.json`, which marks it as finished.

Imports neither engines nor PyTorch, so that reading an experiment is fast.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedvoice.laboratory.experiment.outcome import Outcome, curve_points
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.protocol.files import write_file
from fedvoice.protocol.scoring import ErrorCounts
from fedvoice.reporting.results import RESULTS_FILE, Results, read_results
from fedvoice.simulation.checkpoint import evaluations_from_json, evaluations_to_json
from fedvoice.simulation.training import rates_of

if TYPE_CHECKING:
    from fedvoice.protocol.task import TaskManifest
    from fedvoice.simulation.federation import FederationState

TRIAL_FILE = "trial.json"
_OLD_TRIAL_FILE = "cell.json"
"""Its name in 0.1.0."""
Evaluations = Mapping[int, Mapping[str, ErrorCounts]]
"""Errors by round (0: before the first) and test set."""


def write_outcome(
    trial: Trial,
    directory: Path,
    results: Results,
    evaluations: Evaluations,
    *,
    finished: bool = True,
) -> Outcome:
    """`results.json`, then `trial.json`, whose presence says that the trial is done: not of one
    that is not `finished`."""
    results.write(directory)
    fields = {
        "arm": trial.arm,
        "point": dict(trial.point),
        "seed": trial.seed,
        "evaluations": evaluations_to_json(evaluations),
        "settings": trial.settings.model_dump(mode="json"),
    }
    if finished:
        write_file(directory / TRIAL_FILE, json.dumps(fields, indent=1))
    return Outcome(trial, results, curve_points(results.rounds, evaluations))


def read_outcome(trial: Trial, directory: Path) -> Outcome | None:
    """A finished trial's outcome, or None."""
    names = (TRIAL_FILE, _OLD_TRIAL_FILE)
    path = next((directory / name for name in names if (directory / name).is_file()), None)
    if path is None or not (directory / RESULTS_FILE).is_file():
        return None
    results = read_results(directory)
    fields = json.loads(path.read_text(encoding="utf-8"))
    evaluations = evaluations_from_json(fields["evaluations"])
    return Outcome(trial, results, curve_points(results.rounds, evaluations))


def final_rates(state: FederationState) -> dict[str, Any]:
    """The `final` part of a trial's results: last evaluation and totals."""
    numbers = sorted(state.evaluations)
    last = rates_of(state.evaluations[numbers[-1]]) if numbers else {}
    first = rates_of(state.evaluations[0]) if 0 in state.evaluations else {}
    return {
        "wer": last.get("wer"),
        "heldout_wer": last.get("heldout_wer"),
        "pooled": last.get("pooled"),
        "cer": last.get("cer"),
        "heldout_cer": last.get("heldout_cer"),
        "pooled_cer": last.get("pooled_cer"),
        "initial_wer": first.get("wer"),
        "initial_heldout_wer": first.get("heldout_wer"),
        "initial_cer": first.get("cer"),
        "initial_heldout_cer": first.get("heldout_cer"),
        "rounds": state.number,
        "complete": True,
    }


def describe(trial: Trial, manifest: TaskManifest, clients: int) -> dict[str, Any]:
    """The configuration part of a trial's results."""
    return {
        "name": trial.name,
        "seed": trial.seed,
        **trial.settings.model_dump(mode="json"),
        "alpha": trial.server.alpha,
        "parameters": manifest.parameters.parameter_count,
        "phones": clients,
    }

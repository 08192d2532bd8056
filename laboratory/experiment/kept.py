"""A finished cell on disk: `results.json`, and `cell.json`, which says that it is finished.

Free of the engines and of PyTorch: looking at an experiment that was run takes no seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedvoice.laboratory.experiment.cells import Cell
from fedvoice.laboratory.experiment.outcome import (
    Outcome,
    curve_points,
)
from fedvoice.protocol.files import write_file
from fedvoice.reporting.results import (
    RESULTS_FILE,
    Results,
    read_results,
)
from fedvoice.simulation.checkpoint import (
    evaluations_from_json,
    evaluations_to_json,
)
from fedvoice.simulation.quality import ErrorCounts
from fedvoice.simulation.training import rates_of

if TYPE_CHECKING:
    from fedvoice.protocol.task import TaskManifest
    from fedvoice.simulation.federation import FederationState

CELL_FILE = "cell.json"
Evaluations = Mapping[int, Mapping[str, ErrorCounts]]
"""Errors by round (0: before the first) and test set."""


def write_outcome(
    cell: Cell, directory: Path, results: Results, evaluations: Evaluations
) -> Outcome:
    """`results.json`, then `cell.json`, whose presence says that the cell is done."""
    results.write(directory)
    fields = {
        "arm": cell.arm,
        "point": dict(cell.point),
        "seed": cell.seed,
        "evaluations": evaluations_to_json(evaluations),
        "settings": cell.settings.model_dump(mode="json"),
    }
    write_file(directory / CELL_FILE, json.dumps(fields, indent=1))
    return Outcome(cell, results, curve_points(results.rounds, evaluations))


def read_outcome(cell: Cell, directory: Path) -> Outcome | None:
    """A finished cell's outcome, or None."""
    path = directory / CELL_FILE
    if not path.is_file() or not (directory / RESULTS_FILE).is_file():
        return None
    results = read_results(directory)
    fields = json.loads(path.read_text(encoding="utf-8"))
    evaluations = evaluations_from_json(fields["evaluations"])
    return Outcome(cell, results, curve_points(results.rounds, evaluations))


def final_rates(state: FederationState) -> dict[str, Any]:
    """What `results.json` says of the last evaluation and of the whole run."""
    numbers = sorted(state.evaluations)
    last = rates_of(state.evaluations[numbers[-1]]) if numbers else {}
    first = rates_of(state.evaluations[0]) if 0 in state.evaluations else {}
    return {
        "wer": last.get("wer"),
        "heldout_wer": last.get("heldout_wer"),
        "pooled": last.get("pooled"),
        "initial_wer": first.get("wer"),
        "initial_heldout_wer": first.get("heldout_wer"),
        "rounds": state.number,
        "complete": True,
    }


def describe(cell: Cell, manifest: TaskManifest, clients: int) -> dict[str, Any]:
    """The configuration part of a cell's results."""
    return {
        "name": cell.name,
        "seed": cell.seed,
        **cell.settings.model_dump(mode="json"),
        "alpha": cell.server.alpha,
        "parameters": manifest.parameters.parameter_count,
        "phones": clients,
    }

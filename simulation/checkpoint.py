"""Checkpoints: a run's state between two rounds, on disk. A resumed run gives the same bits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fedvoice.algorithm.books import Costs
from fedvoice.algorithm.federated import AlgorithmState
from fedvoice.algorithm.influence import NormHistory
from fedvoice.algorithm.optimizers import OptimizerState
from fedvoice.protocol.cost import Cfmq
from fedvoice.protocol.files import replace_file
from fedvoice.protocol.scoring import ErrorCounts
from fedvoice.reporting.results import RoundResult
from fedvoice.simulation.federation import FederationState

STATE_FILE = "state.npz"
_SLOT = "slot."


def save_state(directory: Path, state: FederationState) -> None:
    """Replace the state below `directory` atomically."""
    rest = {
        "number": state.number,
        "rows": [asdict(row) for row in state.rows],
        "evaluations": evaluations_to_json(state.evaluations),
        "cost": asdict(state.cost),
        "analytic": asdict(state.analytic),
        "refused": dict(state.refused),
        "norms": asdict(state.norms),
    }
    arrays: dict[str, Any] = {f"{_SLOT}{k}": slot for k, slot in state.optimizer.slots.items()}

    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            np.savez(file, weights=state.weights, rest=np.array(json.dumps(rest)), **arrays)

    replace_file(directory / STATE_FILE, write)


def load_state(directory: Path) -> FederationState | None:
    """The state below `directory`, or None if there is none."""
    path = directory / STATE_FILE
    if not path.is_file():
        return None
    with np.load(path) as stored:
        rest = json.loads(str(stored["rest"]))
        return FederationState(
            AlgorithmState(
                weights=stored["weights"],
                optimizer=OptimizerState(
                    {k[len(_SLOT) :]: stored[k] for k in stored.files if k.startswith(_SLOT)}
                ),
                number=rest["number"],
                costs=Costs(Cfmq(**rest["cost"]), Cfmq(**rest["analytic"])),
            ),
            rows=tuple(RoundResult(**row) for row in rest["rows"]),
            evaluations=evaluations_from_json(rest["evaluations"]),
            refused=rest.get("refused", {}),  # absent in states of earlier versions
            norms=_norms(rest.get("norms", {"norms": (), "abandoned": 0})),  # likewise
        )


def _norms(fields: Mapping[str, Any]) -> NormHistory:
    return NormHistory(tuple(tuple(own) for own in fields["norms"]), fields["abandoned"])


def evaluations_to_json(
    evaluations: Mapping[int, Mapping[str, ErrorCounts]],
) -> dict[str, dict[str, list[int]]]:
    """Round -> test set -> [errors, references], and [char_errors, chars] where there are any."""
    return {
        str(number): {name: _counts(e) for name, e in sets.items()}
        for number, sets in evaluations.items()
    }


def _counts(errors: ErrorCounts) -> list[int]:
    characters = [errors.char_errors, errors.chars] if errors.chars else []
    return [errors.errors, errors.references, *characters]


def evaluations_from_json(fields: Mapping[str, Any]) -> dict[int, dict[str, ErrorCounts]]:
    """The inverse of `evaluations_to_json`."""
    return {
        int(number): {name: ErrorCounts(*counts) for name, counts in sets.items()}
        for number, sets in fields.items()
    }

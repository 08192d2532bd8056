"""What an experiment still has to do, and how long that takes, from the cells that are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedvoice.laboratory.experiment.cells import Cell
from fedvoice.laboratory.experiment.kept import read_outcome
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import cell_dir
from fedvoice.simulation.checkpoint import STATE_FILE


@dataclass(frozen=True)
class Standing:
    """Where a cell stands.

    secs: what it took; expected_secs: what it will take, None if nothing like it is done. A cell
    that is done has the first, another at most the second.
    """

    cell: Cell
    done: bool
    begun: bool
    secs: float | None = None
    expected_secs: float | None = None


def look(cells: Sequence[Cell], cells_dir: Path) -> list[Standing]:
    """Where the cells stand on disk, equal ones once; nothing is run."""
    distinct = list({cell.digest: cell for cell in reversed(cells)}.values())[::-1]
    found = {cell.digest: read_outcome(cell, cell_dir(cells_dir, cell)) for cell in distinct}
    outcomes = [outcome for outcome in found.values() if outcome is not None]
    standings = []
    for cell in distinct:
        outcome = found[cell.digest]
        if outcome is not None:
            standings.append(Standing(cell, True, True, secs=took_secs(outcome)))
            continue
        begun = (cell_dir(cells_dir, cell) / STATE_FILE).is_file()
        standings.append(Standing(cell, False, begun, expected_secs=expected_secs(cell, outcomes)))
    return standings


def took_secs(outcome: Outcome) -> float:
    """Seconds of a cell: the last command's, or of all its rounds if it was interrupted before."""
    rounds_secs = sum(row.wall_secs for row in outcome.results.rounds)
    return max(float(outcome.results.final.get("secs") or 0.0), rounds_secs)


def expected_secs(cell: Cell, outcomes: Sequence[Outcome]) -> float | None:
    """The mean over other seeds of the same arm and point; without any over the arm's cells, and
    then over all."""
    nearest = [o for o in outcomes if (o.cell.arm, o.cell.point) == (cell.arm, cell.point)]
    own_arm = [o for o in outcomes if o.cell.arm == cell.arm]
    for kin in (nearest, own_arm, outcomes):
        if kin:
            return sum(took_secs(outcome) for outcome in kin) / len(kin)
    return None


def remaining_secs(standings: Sequence[Standing], jobs: int) -> float | None:
    """Until the last of the cells is done, `jobs` at a time and in order; None if that of a cell
    is not known. What a begun cell has done already is not deducted."""
    free_at = [0.0] * jobs
    for standing in standings:
        if standing.done:
            continue
        if standing.expected_secs is None:
            return None
        first = free_at.index(min(free_at))
        free_at[first] += standing.expected_secs
    return max(free_at)

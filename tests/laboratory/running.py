"""One cell in this process, heard of and stopped as a test wants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedvoice.laboratory.experiment.cells import Cell
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import Progress, Tell
from fedvoice.laboratory.experiment.run import TrialRun
from fedvoice.simulation.training import Interruption
from fedvoice.simulation.workers.spread import HERE, Spread


def run_cell(
    cell: Cell,
    folder: Path,
    tasks_dir: Path,
    report: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    spread: Spread = HERE,
) -> Outcome:
    """A cell's outcome; `report` hears of its progress, `should_stop` is asked before rounds."""
    told = [Tell(report, cell.server.rounds), Interruption(should_stop)]
    return TrialRun(cell, folder, tasks_dir, told, spread).run()

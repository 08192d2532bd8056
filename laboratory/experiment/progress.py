"""What is told of a cell while it runs, and the ways in which it ends early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedvoice.laboratory.experiment.outcome import Point


@dataclass(frozen=True)
class Progress:
    """Where a cell stands. `rounds`: as many as it would take to the end; `note`: a few words."""

    done: int
    rounds: int
    note: str = ""


Report = Callable[[Progress], None]
Stop = Callable[[], bool]

PruneRule = Callable[[Point], bool]
"""Whether a run that has come to this evaluation is not worth going on with; picklable."""


class Pruned(Exception):  # noqa: N818
    """A prune rule said so. `points`: the evaluations until then."""

    def __init__(self, points: tuple[Point, ...]) -> None:
        super().__init__(points)
        self.points = points


class Interrupted(Exception):  # noqa: N818
    """Stopped on request; the checkpoint holds what was reached."""

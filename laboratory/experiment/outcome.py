"""The outcome of a trial: its results, and the figures for tables and plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedvoice.laboratory.experiment.trials import Metric, Trial
from fedvoice.protocol.scoring import ErrorCounts
from fedvoice.reporting.results import Results, RoundResult
from fedvoice.simulation.training import rates_of


@dataclass(frozen=True)
class Point:
    """An evaluation: error rates in percent, and the cumulative cost in bytes."""

    round: int
    rates: Mapping[str, float]
    communication_bytes: float
    computation_bytes: float
    wall_secs: float

    @property
    def cfmq_bytes(self) -> float:
        """Both terms at alpha = 1."""
        return self.communication_bytes + self.computation_bytes


@dataclass(frozen=True)
class Outcome:
    """A finished trial. `points`: its evaluations in order of rounds."""

    trial: Trial
    results: Results
    points: tuple[Point, ...]

    def figure(self, metric: Metric) -> float | None:
        """The trial's error rate: the mean over its last `average_last` evaluations."""
        rates = [p.rates[metric] for p in self.points if metric in p.rates]
        last = rates[-self.trial.settings.average_last :]
        return sum(last) / len(last) if last else None

    def rounds_to(self, target: float, metric: Metric) -> float | None:
        """Rounds until the error rate is `target`: `crossing` of this trial's curve."""
        curve = [(p.round, p.rates[metric]) for p in self.points if metric in p.rates]
        return crossing(curve, target)


def curve_points(
    rows: Sequence[RoundResult],
    evaluations: Mapping[int, Mapping[str, ErrorCounts]],
) -> tuple[Point, ...]:
    """Evaluations joined with the costs of their rounds."""
    by_round = {row.round: row for row in rows}
    secs, elapsed = 0.0, {0: 0.0}
    for row in rows:
        secs += row.wall_secs
        elapsed[row.round] = secs
    points = []
    for number, sets in sorted(evaluations.items()):
        books = by_round.get(number)
        points.append(
            Point(
                round=number,
                rates=rates_of(sets),
                communication_bytes=books.cfmq_communication_bytes if books else 0.0,
                computation_bytes=books.cfmq_compute_bytes if books else 0.0,
                wall_secs=elapsed.get(number, 0.0),
            )
        )
    return tuple(points)


def crossing(curve: Sequence[tuple[float, float]], target: float) -> float | None:
    """The round at which a falling curve first reaches `target`, or None if it does not.

    McMahan et al. 2016, section 3: the curve is made monotone (the best value so far), and the
    crossing is interpolated linearly between the two evaluations around it.

    Args:
        curve: (rounds, error rate) in order of rounds.
    """
    before: tuple[float, float] | None = None
    for rounds, rate in curve:
        if rate <= target:
            if before is None:
                return float(rounds)
            share = (before[1] - target) / (before[1] - rate)
            return before[0] + share * (rounds - before[0])
        before = (rounds, min(rate, before[1]) if before else rate)
    return None


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (0 for a single value)."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, 0.0
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))

"""The rule by which trials of a search are pruned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedvoice.laboratory.experiment.outcome import Outcome, Point
from fedvoice.laboratory.experiment.trials import Metric

_LEAST_SHARE = 0.3


@dataclass(frozen=True)
class MedianRule:
    """Prune a trial whose error is above the median of finished trials at the same cost.

    curves: for each finished trial (CFMQ in bytes, lowest error rate so far in percent) by rising
    cost. Nothing is pruned below least_bytes of CFMQ, 30% of the most expensive trial's: up to
    there all are on the blank plateau.
    """

    metric: Metric
    curves: tuple[tuple[tuple[float, float], ...], ...]
    least_bytes: float

    def __call__(self, point: Point) -> bool:
        """Whether to prune a trial at the evaluation `point`."""
        if point.cfmq_bytes < self.least_bytes or self.metric not in point.rates:
            return False
        others = sorted(
            [rate for cost, rate in curve if cost <= point.cfmq_bytes][-1]
            for curve in self.curves
            if curve[0][0] <= point.cfmq_bytes
        )
        return bool(others) and point.rates[self.metric] > others[len(others) // 2]


def median_rule(outcomes: Sequence[Outcome], metric: Metric) -> MedianRule | None:
    """The rule from the finished trials; None if there are none."""
    curves = []
    for outcome in outcomes:
        best, curve = float("inf"), []
        for point in outcome.points:
            if metric in point.rates:
                best = min(best, point.rates[metric])
                curve.append((point.cfmq_bytes, best))
        if curve:
            curves.append(tuple(curve))
    if not curves:
        return None
    return MedianRule(metric, tuple(curves), _LEAST_SHARE * max(curve[-1][0] for curve in curves))

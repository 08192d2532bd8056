"""The best values of tuned settings, for every line of a table.

McMahan et al. 2016 (section 3) choose the learning rate anew for every entry of their tables: the
one that reaches the target in the fewest rounds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from fedvoice.laboratory.experiment.summary import Line
from fedvoice.laboratory.experiment.trials import Metric


def best_lines(lines: Sequence[Line], tuned: Sequence[str], metric: Metric) -> list[Line]:
    """For each arm and each point of the rest of the grid, the line of the best tuned values.

    The best value is the one with which most seeds reach the target, then the one that takes the
    fewest rounds on average, then the one with the lowest error rate, then the first.

    Args:
        tuned: settings of the grid; none: every line stays.
        metric: the error rate where no target decides.
    """
    groups: dict[str, list[Line]] = {}
    for line in lines:
        kept = {name: value for name, value in line.point.items() if name not in tuned}
        key = json.dumps([line.arm, kept], sort_keys=True, default=str)
        groups.setdefault(key, []).append(line)
    return [min(group, key=lambda line: _rank(line, metric)) for group in groups.values()]


def _rank(line: Line, metric: Metric) -> tuple[float, float, float]:
    rate = line.rates[metric][0] if metric in line.rates else math.inf
    rounds, reached = line.rounds_to_target or (math.inf, 0)
    # If no seed reached the target the mean is NaN, which does not sort.
    return -reached / line.seeds, rounds if reached else math.inf, rate

"""Figures of an experiment as SVG: quality by round, quality by cost, arm beside arm, the Pareto
front."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fedvoice.laboratory.experiment.outcome import Point
from fedvoice.laboratory.experiment.summary import Line
from fedvoice.laboratory.experiment.trials import Metric
from fedvoice.reporting.drawing import WIDTH_INCHES, Drawing, axes, pyplot
from fedvoice.reporting.page import LIGHT, SERIES

AXIS_LABELS: dict[Metric, str] = {
    "wer": "error rate, own test data (%)",
    "heldout_wer": "WER, held-out speakers (%)",
    "pooled": "error rate, all test data (%)",
    "cer": "CER, own test data (%)",
    "heldout_cer": "CER, held-out speakers (%)",
    "pooled_cer": "CER, all test data (%)",
}
_MOST_IN_LEGEND = 40
_HEIGHT = 3.6
_LONGEST_NAME = 26
"""Characters of a name beside bars; the pointer shows the whole."""
_SHORT_LABEL = 32
"""Characters of a label that leave room for a second column of the legend."""
_LEGEND_ROW_INCHES = 0.17
_DASHES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D")


def figures(lines: Sequence[Line], metric: Metric) -> dict[str, str]:
    """Name -> SVG text."""
    drawn = {
        "wer-by-round": _curves(lines, metric, "round", lambda p: float(p.round)),
        "wer-by-cfmq": _curves(lines, metric, "CFMQ (GB)", lambda p: p.cfmq_bytes / 1e9),
        "wer-by-bytes": _curves(
            lines, metric, "communication (GB)", lambda p: p.communication_bytes / 1e9
        ),
        "quality-and-cost": _quality_and_cost(lines, metric),
        "pareto": _pareto(lines, metric),
        "loss-by-round": _losses(lines),
    }
    return {name: svg for name, svg in drawn.items() if svg}


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the Pareto-optimal (cost, error) points, by rising cost."""
    front: list[int] = []
    best = float("inf")
    for place in sorted(range(len(points)), key=lambda i: points[i]):
        if points[place][1] < best:
            front.append(place)
            best = points[place][1]
    return front


def _curves(
    lines: Sequence[Line], metric: Metric, label: str, position: Callable[[Point], float]
) -> str:
    drawing, axis = axes(label, AXIS_LABELS[metric], _HEIGHT)
    for number, line in enumerate(lines):
        by_round: dict[int, list[tuple[float, float]]] = {}
        for outcome in line.outcomes:
            for point in outcome.points:
                if metric in point.rates:
                    found = (position(point), point.rates[metric])
                    by_round.setdefault(point.round, []).append(found)
        rounds = sorted(r for r, found in by_round.items() if len(found) == len(line.outcomes))
        if not rounds:
            continue
        xs = np.array([np.mean([x for x, _ in by_round[r]]) for r in rounds])
        ys = [np.array([y for _, y in by_round[r]]) for r in rounds]
        mean = np.array([y.mean() for y in ys])
        colour = _colour(number)
        axis.plot(xs, mean, color=colour, ls=_dashes(number), lw=1.6, label=line.name)
        told = [f"{line.name}\nround {r}: {m:.1f} %" for r, m in zip(rounds, mean, strict=True)]
        drawing.tell(axis, xs.tolist(), mean.tolist(), told)
        if line.seeds > 1:
            spread = np.array([y.std(ddof=1) for y in ys])
            axis.fill_between(xs, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
    axis.set_ylim(bottom=0)
    return _finished(drawing, axis, len(lines))


def _losses(lines: Sequence[Line]) -> str:
    """The training loss of each line, mean over its seeds, by round."""
    drawing, axis = axes("round", "training loss (nats an example)", _HEIGHT)
    drawn = False
    for number, line in enumerate(lines):
        by_round: dict[int, list[float]] = {}
        for outcome in line.outcomes:
            for row in outcome.results.rounds:
                if row.loss is not None and row.examples:
                    by_round.setdefault(row.round, []).append(row.loss)
        rounds = sorted(r for r, found in by_round.items() if len(found) == len(line.outcomes))
        if not rounds:
            continue
        drawn = True
        mean = [float(np.mean(by_round[r])) for r in rounds]
        colour = _colour(number)
        axis.plot(rounds, mean, color=colour, ls=_dashes(number), lw=1.6, label=line.name)
        told = [f"{line.name}\nround {r}: {m:.3f}" for r, m in zip(rounds, mean, strict=True)]
        drawing.tell(axis, rounds, mean, told)
    axis.set_ylim(bottom=0)
    svg = _finished(drawing, axis, len(lines))
    return svg if drawn else ""


def _quality_and_cost(lines: Sequence[Line], metric: Metric) -> str:
    """One row a line: its seeds' error rates with mean and spread, and its cost in both terms."""
    figure, (left, right) = pyplot().subplots(
        *(1, 2), sharey=True, figsize=(WIDTH_INCHES, 1.4 + 0.26 * len(lines)), layout="constrained"
    )
    drawing = Drawing(figure)
    places = range(len(lines))  # names of lines need not be unique
    for place, line in enumerate(lines):
        if metric in line.rates:
            seeds = [o.figure(metric) for o in line.outcomes]
            left.plot(seeds, [place] * len(seeds), "o", ms=3, color=SERIES[0], alpha=0.35)
            mean, spread = line.rates[metric]
            left.errorbar(mean, place, xerr=spread, fmt="D", ms=5, color=SERIES[0], capsize=2)
            drawing.tell(left, [mean], [place], [f"{line.name}\n{mean:.1f} ± {spread:.1f} %"])
    left.set(xlabel="error rate (%)", xlim=(0, 1.08 * left.get_xlim()[1]))
    names = [n if len(n) <= _LONGEST_NAME else f"{n[: _LONGEST_NAME - 1]}…" for n in
             (line.name for line in lines)]  # fmt: skip
    left.set_yticks(places, names, fontsize=9)
    left.invert_yaxis()
    bytes_term = [line.communication_bytes / 1e9 for line in lines]
    compute_term = [line.computation_bytes / 1e9 for line in lines]
    bars = {"height": 0.6, "zorder": 2}
    right.barh(places, bytes_term, color=LIGHT["--c3"], label="communication", **bars)
    right.barh(
        places, compute_term, left=bytes_term, color=LIGHT["--c4"], label="memory x steps", **bars
    )
    totals = [moved + computed for moved, computed in zip(bytes_term, compute_term, strict=True)]
    costs = zip(lines, bytes_term, compute_term, strict=True)
    told = [f"{n.name}\n{m:.3g} GB moved\n{c:.3g} GB memory x steps" for n, m, c in costs]
    drawing.tell(right, totals, list(places), told)
    right.set_xlabel("CFMQ (GB)")
    figure.legend(loc="outside lower right", ncols=2, fontsize=9)
    return drawing.svg()


def _pareto(lines: Sequence[Line], metric: Metric) -> str:
    shown = [line for line in lines if metric in line.rates]
    if not shown:
        return ""
    drawing, axis = axes("CFMQ (GB)", AXIS_LABELS[metric], _HEIGHT)
    points = [(line.cfmq_bytes / 1e9, line.rates[metric][0]) for line in shown]
    for number, (line, (cost, rate)) in enumerate(zip(shown, points, strict=True)):
        spread = line.rates[metric][1]
        marker = _MARKERS[number // len(SERIES) % len(_MARKERS)]
        axis.errorbar(cost, rate, yerr=spread, fmt=marker, color=_colour(number), label=line.name)
        told = f"{line.name}\n{rate:.1f} ± {spread:.1f} %\n{cost:.3g} GB"
        drawing.tell(axis, [cost], [rate], [told])
    front = [points[i] for i in pareto_front(points)]
    axis.step(
        *zip(*front, strict=True), where="post", color=LIGHT["--faint"], lw=1, ls="--", zorder=0
    )
    axis.set_ylim(bottom=0)
    costs = [cost for cost, _ in points]
    if min(costs) < max(costs) / 2:  # else all would stand at the right edge
        axis.set_xlim(left=0)
    return _finished(drawing, axis, len(shown))


def scatter(points: Sequence[tuple[float, float]], front: Sequence[tuple[float, float]]) -> str:
    """(CFMQ in GB, error rate) of many trials and their Pareto front, as SVG."""
    drawing, axis = axes("CFMQ (GB)", "error rate (%)", _HEIGHT)
    xs, ys = [x for x, _ in points], [y for _, y in points]
    drawing.tell(axis, xs, ys, [f"{y:.1f} %\n{x:.3g} GB" for x, y in points])
    axis.plot(*zip(*points, strict=True), "o", color=SERIES[0], alpha=0.6, label="trial")
    axis.step(*zip(*front, strict=True), where="post", color=SERIES[1], label="Pareto front")
    axis.set_ylim(bottom=0)
    return _finished(drawing, axis, 2)


def curves(x: str, y: str, places: Sequence[float], values: Mapping[str, Sequence[float]]) -> str:
    """Named curves over the same places as SVG; the y axis is logarithmic."""
    drawing, axis = axes(x, y, _HEIGHT)
    for number, (name, heights) in enumerate(values.items()):
        axis.plot(places, heights, color=_colour(number), lw=1.6, label=name)
    axis.set_yscale("log")
    return _finished(drawing, axis, len(values))


def _finished(drawing: Drawing, axis: Any, entries: int) -> str:
    """The SVG, the legend of so many entries below."""
    if 0 < entries <= _MOST_IN_LEGEND:
        _, labels = axis.get_legend_handles_labels()
        columns = 2 if max(map(len, labels), default=0) <= _SHORT_LABEL else 1
        figure = drawing.figure
        figure.set_figheight(_HEIGHT + _LEGEND_ROW_INCHES * -(-entries // columns))
        figure.legend(loc="outside lower center", ncols=columns, fontsize=9)
    return drawing.svg()


def _colour(number: int) -> str:
    return SERIES[number % len(SERIES)]


def _dashes(number: int) -> str:
    """Lines beyond the colours are told apart by their dashes."""
    return _DASHES[number // len(SERIES) % len(_DASHES)]

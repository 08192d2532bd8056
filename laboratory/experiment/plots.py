"""Figures of an experiment as SVG: quality by round, quality by cost, arm beside arm, the Pareto
front."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fedvoice.laboratory.experiment.outcome import Point
from fedvoice.laboratory.experiment.summary import Line
from fedvoice.laboratory.experiment.trials import Metric

AXIS_LABELS: dict[Metric, str] = {
    "wer": "error rate, own test data (%)",
    "heldout_wer": "WER, held-out speakers (%)",
    "pooled": "error rate, all test data (%)",
    "cer": "CER, own test data (%)",
    "heldout_cer": "CER, held-out speakers (%)",
    "pooled_cer": "CER, all test data (%)",
}
_MOST_IN_LEGEND = 40
_SHORT_LABEL = 42
"""Characters of a label that leave room for a second column of the legend."""
_LEGEND_ROW_INCHES = 0.17
_COLOURS = ("#1f5fa8", "#d1495b", "#2a9d8f", "#e9a23b", "#7b4fa3", "#5b8c3a", "#444", "#c06c34",
            "#2c9fb8", "#a83279")  # fmt: skip
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
    axis, finish = _axes(label, AXIS_LABELS[metric])
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
        if line.seeds > 1:
            spread = np.array([y.std(ddof=1) for y in ys])
            axis.fill_between(xs, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
    axis.set_ylim(bottom=0)
    return finish(len(lines))


def _quality_and_cost(lines: Sequence[Line], metric: Metric) -> str:
    """One row a line: its seeds' error rates with mean and spread, and its cost in both terms."""
    pyplot = _pyplot()
    figure, (left, right) = pyplot.subplots(
        1, 2, sharey=True, figsize=(6.4, 1.2 + 0.26 * len(lines)), layout="constrained"
    )
    places = range(len(lines))  # names of lines need not be unique
    for place, line in enumerate(lines):
        if metric in line.rates:
            seeds = [o.figure(metric) for o in line.outcomes]
            left.plot(seeds, [place] * len(seeds), "o", ms=3, color="#1f5fa8", alpha=0.35)
            mean, spread = line.rates[metric]
            left.errorbar(mean, place, xerr=spread, fmt="D", ms=5, color="#1f5fa8", capsize=2)
    left.set(xlabel=AXIS_LABELS[metric], xlim=(0, None))
    left.set_yticks(places, [line.name for line in lines], fontsize=8)
    left.invert_yaxis()
    bytes_term = [line.communication_bytes / 1e9 for line in lines]
    compute_term = [line.computation_bytes / 1e9 for line in lines]
    bars = {"height": 0.6, "zorder": 2}
    right.barh(places, bytes_term, color="#2a9d8f", label="communication", **bars)
    right.barh(
        places, compute_term, left=bytes_term, color="#e9a23b", label="memory x steps", **bars
    )
    right.set_xlabel("CFMQ (GB)")
    figure.legend(loc="outside lower right", ncols=2, frameon=False, fontsize=8)
    return _svg(figure)


def _pareto(lines: Sequence[Line], metric: Metric) -> str:
    shown = [line for line in lines if metric in line.rates]
    if not shown:
        return ""
    axis, finish = _axes("CFMQ (GB)", AXIS_LABELS[metric])
    points = [(line.cfmq_bytes / 1e9, line.rates[metric][0]) for line in shown]
    for number, (line, (cost, rate)) in enumerate(zip(shown, points, strict=True)):
        spread = line.rates[metric][1]
        marker = _MARKERS[number // len(_COLOURS) % len(_MARKERS)]
        axis.errorbar(cost, rate, yerr=spread, fmt=marker, color=_colour(number), label=line.name)
    front = [points[i] for i in pareto_front(points)]
    axis.step(*zip(*front, strict=True), where="post", color="#888", lw=1, ls="--", zorder=0)
    axis.set_ylim(bottom=0)
    costs = [cost for cost, _ in points]
    if min(costs) < max(costs) / 2:  # else all would stand at the right edge
        axis.set_xlim(left=0)
    return finish(len(shown))


def scatter(points: Sequence[tuple[float, float]], front: Sequence[tuple[float, float]]) -> str:
    """(CFMQ in GB, error rate) of many trials and their Pareto front, as SVG."""
    axis, finish = _axes("CFMQ (GB)", "error rate (%)")
    axis.plot(*zip(*points, strict=True), "o", color="#1f5fa8", alpha=0.6, label="trial")
    axis.step(*zip(*front, strict=True), where="post", color="#d1495b", label="Pareto front")
    axis.set_ylim(bottom=0)
    return finish(2)


def curves(x: str, y: str, places: Sequence[float], values: Mapping[str, Sequence[float]]) -> str:
    """Named curves over the same places as SVG; the y axis is logarithmic."""
    axis, finish = _axes(x, y)
    for number, (name, heights) in enumerate(values.items()):
        axis.plot(places, heights, color=_colour(number), lw=1.6, label=name)
    axis.set_yscale("log")
    return finish(len(values))


def _axes(x: str, y: str, height: float = 4.0) -> tuple[Any, Callable[[int], str]]:
    """An axis, and what makes SVG text of it, the legend of so many entries below."""
    figure, axis = _pyplot().subplots(figsize=(6.4, height), layout="constrained")
    axis.set(xlabel=x, ylabel=y)

    def finish(entries: int) -> str:
        if 0 < entries <= _MOST_IN_LEGEND:
            _, labels = axis.get_legend_handles_labels()
            columns = 2 if max(map(len, labels), default=0) <= _SHORT_LABEL else 1
            figure.set_figheight(height + _LEGEND_ROW_INCHES * -(-entries // columns))
            figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
        return _svg(figure)

    return axis, finish


def _pyplot() -> Any:
    """matplotlib.pyplot, set up to draw the same text for the same figures."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "fedvoice", "font.size": 10})
    mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
    mpl.rcParams.update({"axes.grid": True, "grid.alpha": 0.25})
    return pyplot


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    _pyplot().close(figure)
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _dashes(number: int) -> str:
    """Lines beyond the colours are told apart by their dashes."""
    return _DASHES[number // len(_COLOURS) % len(_DASHES)]

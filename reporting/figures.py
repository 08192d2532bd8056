"""The figures of one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedvoice.protocol.cost import human_bytes
from fedvoice.reporting.drawing import Drawing, axes
from fedvoice.reporting.page import LIGHT, SERIES, figure
from fedvoice.reporting.rates import RATES, rate_of, rates_in
from fedvoice.reporting.results import Results

_QUALITY = (
    "The share of words that the model got wrong, after the rounds in which it was tested: lower "
    "is better. Round 0 is the model before training. Words that nobody said count, too, so that "
    "it can be more than 100 %."
)
_QUALITY_BY_COST = (
    "The same error rates against what had been spent by then (CFMQ: bytes moved plus memory "
    "times steps). Of two runs the one whose curve falls further left is cheaper."
)
_COST = (
    "What the run cost up to each round. Communication: bytes of all messages of training. "
    "Computation: the memory a phone needs to train, times the steps it takes."
)
_LOSS = (
    "How badly the model fits the speech that the round's phones trained on (nats an utterance). "
    "It moves with who took part; the trend counts."
)


def run_figures(results: Results) -> list[str]:
    """Quality by round and by cost, cost, training loss; as HTML figures with captions."""
    rounds = results.rounds
    tested = [r for r in rounds if rates_in(r)]
    numbers = [float(r.round) for r in tested]
    spent = [(r.cfmq_communication_bytes + r.cfmq_compute_bytes) / 1e9 for r in tested]
    return [
        figure("Quality", _quality(results, "round", numbers), _QUALITY),
        figure("Quality against cost", _quality(results, "CFMQ (GB)", spent), _QUALITY_BY_COST),
        figure("Cost", _cost(results), _COST),
        figure("Training loss", _loss(results), _LOSS),
    ]


def _quality(results: Results, label: str, places: Sequence[float]) -> str:
    drawing, axis = axes(label, "error rate (%)")
    tested = [r for r in results.rounds if rates_in(r)]
    shown = False
    for number, rate in enumerate(RATES):
        first = results.final.get(f"initial_{rate.name}")
        points = [(0.0, float(first), 0)] if first is not None else []
        for place, row in zip(places, tested, strict=True):
            value = rate_of(row, rate)
            if value is not None:
                points.append((place, value, row.round))
        if points:
            shown = True
            xs, ys, rounds = ([p[i] for p in points] for i in range(3))
            axis.plot(xs, ys, "o-", ms=3.5, color=SERIES[number], label=rate.label)
            texts = [f"round {r}\n{rate.head} {y:.1f} %" for r, y in zip(rounds, ys, strict=True)]
            drawing.tell(axis, xs, ys, texts)
    _end(drawing, axis, shown)
    return drawing.svg()


def _cost(results: Results) -> str:
    drawing, axis = axes("round", "GB, cumulative")
    rounds = results.rounds
    numbers = [r.round for r in rounds]
    parts = [
        [r.cfmq_communication_bytes / 1e9 for r in rounds],
        [r.cfmq_compute_bytes / 1e9 for r in rounds],
    ]
    if rounds:
        axis.stackplot(
            numbers,
            *parts,
            labels=["communication", "computation (memory x steps)"],
            colors=[LIGHT["--c3"], LIGHT["--c4"]],
            alpha=0.85,
        )
        texts = [
            f"round {r.round}\ncommunication {human_bytes(r.cfmq_communication_bytes)}\n"
            f"computation {human_bytes(r.cfmq_compute_bytes)}"
            for r in rounds
        ]
        tops = [sum(both) for both in zip(*parts, strict=True)]
        drawing.tell(axis, numbers, tops, texts)
    _end(drawing, axis, bool(rounds))
    return drawing.svg()


def _loss(results: Results) -> str:
    drawing, axis = axes("round", "loss (nats an utterance)")
    points = [(r.round, r.loss) for r in results.rounds if r.examples and r.loss is not None]
    if points:
        xs, ys = ([p[i] for p in points] for i in range(2))
        axis.plot(xs, ys, color=SERIES[0], label="training loss", lw=1.6)
        drawing.tell(axis, xs, ys, [f"round {x}\nloss {y:.3f}" for x, y in points])
    _end(drawing, axis, legend=False)
    return drawing.svg()


def _end(drawing: Drawing, axis: Any, legend: bool) -> None:
    """From zero, and the legend below, where no curve is."""
    axis.set_ylim(bottom=0)
    if legend:
        drawing.figure.legend(loc="outside lower center", ncols=1, fontsize=9)

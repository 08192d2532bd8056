"""The lines of a table: mean and spread over seeds of each arm and grid point."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedvoice.laboratory.experiment.outcome import Outcome, mean_and_spread
from fedvoice.laboratory.experiment.trials import Metric
from fedvoice.protocol.cost import gigabytes

METRICS: tuple[Metric, ...] = ("wer", "heldout_wer", "pooled")
"""Columns of tables; `_ALL` are those of CSV files."""
_ALL: tuple[Metric, ...] = (*METRICS, "cer", "heldout_cer", "pooled_cer")


@dataclass(frozen=True)
class Line:
    """One arm at one grid point, over its seeds.

    rates: (mean, standard deviation) in percent by metric. The rest are means: rounds, steps,
    bytes of CFMQ's two terms, seconds. rounds_to_target: mean over the seeds that reached it, and
    how many did; None without a target. reference: the rounds to the target that a paper reports.
    """

    arm: str
    label: str
    point: dict[str, Any]
    seeds: int
    rates: dict[Metric, tuple[float, float]]
    rounds: float
    steps: float
    communication_bytes: float
    computation_bytes: float
    secs: float
    rounds_to_target: tuple[float, int] | None
    outcomes: tuple[Outcome, ...]
    reference: float | None = None

    @property
    def name(self) -> str:
        """Label and grid point."""
        return " ".join([self.label, *(f"{_short(k)}={_said(v)}" for k, v in self.point.items())])

    @property
    def cfmq_bytes(self) -> float:
        """Both terms."""
        return self.communication_bytes + self.computation_bytes


def summarise(
    outcomes: Sequence[Outcome], references: Mapping[str, float] | None = None
) -> list[Line]:
    """Lines in the order of the first trial of each arm and point.

    Args:
        references: rounds that a paper reports, by arm.
    """
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        trial = outcome.trial
        key = json.dumps([trial.arm, dict(trial.point)], sort_keys=True, default=str)
        groups.setdefault(key, []).append(outcome)
    known = references or {}
    return [_line(group, known.get(group[0].trial.arm)) for group in groups.values()]


def _line(group: list[Outcome], reference: float | None) -> Line:
    trial = group[0].trial
    rates: dict[Metric, tuple[float, float]] = {}
    for metric in _ALL:
        figures = [rate for o in group if (rate := o.figure(metric)) is not None]
        if figures:
            rates[metric] = mean_and_spread(figures)
    rows = [outcome.results.rounds for outcome in group]
    return Line(
        arm=trial.arm,
        label=trial.label,
        point=dict(trial.point),
        seeds=len(group),
        rates=rates,
        rounds=_mean([len(r) for r in rows]),
        steps=_mean([sum(row.steps for row in r) for r in rows]),
        communication_bytes=_mean([r[-1].cfmq_communication_bytes if r else 0.0 for r in rows]),
        computation_bytes=_mean([r[-1].cfmq_compute_bytes if r else 0.0 for r in rows]),
        secs=_mean([sum(row.wall_secs for row in r) for r in rows]),
        rounds_to_target=_to_target(group),
        outcomes=tuple(group),
        reference=reference,
    )


def _to_target(group: list[Outcome]) -> tuple[float, int] | None:
    settings = group[0].trial.settings
    if settings.target is None:
        return None
    found = [o.rounds_to(settings.target, settings.target_metric) for o in group]
    reached = [rounds for rounds in found if rounds is not None]
    return (_mean(reached) if reached else float("nan"), len(reached))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def trials_csv(outcomes: Sequence[Outcome]) -> str:
    """One line a trial."""
    points = sorted({key for outcome in outcomes for key in outcome.trial.point})
    heads = ["arm", *points, "seed", "engine", *_ALL, "rounds", "steps"]
    heads += ["cfmq_communication_bytes", "cfmq_compute_bytes", "secs", "digest"]
    rows: list[list[Any]] = []
    for outcome in outcomes:
        trial, rounds = outcome.trial, outcome.results.rounds
        last = rounds[-1] if rounds else None
        rows.append(
            [
                trial.arm,
                *(trial.point.get(key, "") for key in points),
                trial.seed,
                trial.settings.engine,
                *(outcome.figure(metric) for metric in _ALL),
                len(rounds),
                sum(row.steps for row in rounds),
                last.cfmq_communication_bytes if last else 0,
                last.cfmq_compute_bytes if last else 0,
                round(sum(row.wall_secs for row in rounds), 2),
                trial.digest[:20],
            ]
        )
    return _csv([heads, *rows])


TABLE_HEADS = ["arm", "seeds", "own test %", "held out %", "pooled %", "rounds", "steps"]
TABLE_HEADS += ["CFMQ GB: bytes", "memory x steps", "total", "secs a trial"]
_CER_PLACE = TABLE_HEADS.index("rounds")
_PAPER_PLACE = _CER_PLACE + 1


def table_heads(lines: Sequence[Line]) -> list[str]:
    """`TABLE_HEADS`; after the rates of words the pooled one of characters where any of the lines
    has it, and beside our rounds the paper's where any has a reference."""
    cer = ["CER %"] if _has_characters(lines) else []
    paper = ["paper"] if _has_reference(lines) else []
    before, rounds = TABLE_HEADS[:_CER_PLACE], TABLE_HEADS[_CER_PLACE:_PAPER_PLACE]
    return [*before, *cer, *rounds, *paper, *TABLE_HEADS[_PAPER_PLACE:]]


def _has_characters(lines: Sequence[Line]) -> bool:
    return any("pooled_cer" in line.rates for line in lines)


def _has_reference(lines: Sequence[Line]) -> bool:
    return any(line.reference is not None for line in lines)


def table_rows(lines: Sequence[Line]) -> list[list[str]]:
    """Cells of the summary table as text, in the order of `table_heads`."""
    referred, spelt = _has_reference(lines), _has_characters(lines)
    return [
        [
            line.name,
            str(line.seeds),
            *(_rate(line.rates.get(metric)) for metric in METRICS),
            *([_rate(line.rates.get("pooled_cer"))] if spelt else []),
            f"{line.rounds:.0f}" + _target(line),
            *([_reference(line)] if referred else []),
            f"{line.steps:.0f}",
            gigabytes(line.communication_bytes),
            gigabytes(line.computation_bytes),
            gigabytes(line.cfmq_bytes),
            f"{line.secs:.0f}",
        ]
        for line in lines
    ]


def summary_markdown(lines: Sequence[Line]) -> str:
    """The summary as a Markdown table."""
    heads = table_heads(lines)
    head = f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n"
    rows = [[text.replace("|", "\\|") for text in row] for row in table_rows(lines)]
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def summary_csv(lines: Sequence[Line]) -> str:
    """The summary with means and deviations in columns of their own."""
    heads = ["arm", "point", "seeds"]
    heads += [f"{metric}_{part}" for metric in _ALL for part in ("mean", "sd")]
    heads += ["rounds", "rounds_to_target", "reached", "paper", "steps"]
    heads += ["cfmq_communication_bytes", "cfmq_compute_bytes", "secs"]
    rows: list[list[Any]] = []
    for line in lines:
        target = line.rounds_to_target or ("", "")
        rows.append(
            [
                line.arm,
                json.dumps(line.point) if line.point else "",
                line.seeds,
                *(part for m in _ALL for part in line.rates.get(m, ("", ""))),
                line.rounds,
                *target,
                "" if line.reference is None else line.reference,
                line.steps,
                line.communication_bytes,
                line.computation_bytes,
                round(line.secs, 2),
            ]
        )
    return _csv([heads, *rows])


def _rate(rate: tuple[float, float] | None) -> str:
    return "" if rate is None else f"{rate[0]:.1f} ± {rate[1]:.1f}"


def _reference(line: Line) -> str:
    return "" if line.reference is None else f"{line.reference:g}"


def _target(line: Line) -> str:
    if line.rounds_to_target is None:
        return ""
    rounds, reached = line.rounds_to_target
    return f" (target at {rounds:.0f}, {reached} of {line.seeds})" if reached else " (not reached)"


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()

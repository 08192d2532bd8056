"""The results of a search: trials.csv, the Pareto plot, the chosen plan, report.html."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fedvoice.laboratory.experiment.outcome import mean_and_spread
from fedvoice.laboratory.experiment.plots import pareto_front, scatter
from fedvoice.laboratory.tuning.config import TuningConfig
from fedvoice.laboratory.tuning.points import STARTUP_TRIALS
from fedvoice.laboratory.tuning.study import Search
from fedvoice.reporting.page import figure, page, paragraph, preformatted, section, table

REPORT_FILE = "report.html"

_CAPTION = (
    "Every finished trial: its error rate and its whole cost. No trial beats one on the line in "
    "both."
)
_SAMPLER = f"""The first {STARTUP_TRIALS} points, after the known ones, are drawn at random. Then
the sampler (Optuna's TPE) models a tenth of all finished and pruned trials, the best ones, and the
rest, and proposes what is likely among the first and unlikely among the rest. A pruned trial has no
result to it: all of them count alike among the rest, however good they were when they were stopped,
so that a region where much is pruned is avoided. Failed and interrupted trials it does not know. No
point is tried twice."""


@dataclass(frozen=True)
class Verdict:
    """The best plan against the hand-set one on fresh seeds.

    best, known: error rates in percent, one a seed; `known` is empty without a hand-set plan.
    """

    point: dict[str, Any]
    best: tuple[float, ...]
    known: tuple[float, ...]

    def __str__(self) -> str:
        mean, spread = mean_and_spread(self.best)
        told = f"best plan {mean:.1f} ± {spread:.1f} % on {len(self.best)} fresh seeds"
        if not self.known:
            return told
        known, known_spread = mean_and_spread(self.known)
        told += f"; hand-set plan {known:.1f} ± {known_spread:.1f} %"
        if mean < known:
            return f"{told}: the search beats it by {known - mean:.1f} points"
        return f"{told}: the search does not beat it"


def write_search(out: Path, search: Search, config: TuningConfig, verdict: Verdict | None) -> Path:
    """Write everything below `out`; the report's path."""
    trials = search.study.get_trials()
    names = list(config.search.space)
    (out / "trials.csv").write_text(trials_csv(trials, names), encoding="utf-8")
    done = [t for t in trials if t.state is TrialState.COMPLETE]
    points = [(t.values[1], t.values[0]) for t in done]
    front = [done[i] for i in pareto_front(points)]
    plot = ""
    if done:
        plot = scatter(
            [(cost / 1e9, rate) for cost, rate in points],
            [(t.values[1] / 1e9, t.values[0]) for t in front],
        )
        (out / "pareto.svg").write_text(plot, encoding="utf-8")
    if verdict is not None:
        fields = {"set": verdict.point, "best": verdict.best, "known": verdict.known}
        (out / "best.json").write_text(json.dumps(fields, indent=1), encoding="utf-8")
    states = [t.state for t in trials]
    counts = (
        f"{states.count(TrialState.COMPLETE)} trials finished, "
        f"{states.count(TrialState.PRUNED)} pruned, "
        f"{states.count(TrialState.FAIL)} failed or interrupted"
    )
    rows = [
        [
            str(t.number),
            f"{t.values[0]:.2f}",
            f"{t.values[1] / 1e9:.2f}",
            "*" if t in front else "",
            *(f"{t.params[n]:.4g}" if isinstance(t.params[n], float) else str(t.params[n])
              for n in names),
        ]
        for t in sorted(done, key=lambda t: t.values[0])
    ]  # fmt: skip
    heads = ["trial", "error %", "CFMQ GB", "on the front", *names]
    shown = page(
        config.title or config.name,
        f"{counts}. Error rates are of one seed a trial; the comparison below is over several "
        "seeds.",
        [
            paragraph(str(verdict) if verdict else "Not compared yet."),
            figure("Quality against cost", plot, _CAPTION) if plot else "",
            section("Trials", paragraph(_SAMPLER), table(heads, rows)),
            section("Search", preformatted(json.dumps(config.model_dump(mode="json"), indent=1))),
        ],
    )
    (out / REPORT_FILE).write_text(shown, encoding="utf-8")
    return out / REPORT_FILE


def trials_csv(trials: Sequence[FrozenTrial], names: Sequence[str]) -> str:
    """One line a trial, in order."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["trial", "state", "error_percent", "cfmq_bytes", *names])
    for proposal in trials:
        values = proposal.values or ["", ""]
        points = [proposal.params.get(name, "") for name in names]
        writer.writerow([proposal.number, proposal.state.name.lower(), *values, *points])
    return buffer.getvalue()

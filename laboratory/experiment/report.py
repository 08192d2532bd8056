"""An experiment's folder: tables, figures, and one self-contained report.html."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fedvoice.laboratory.experiment.best import best_lines
from fedvoice.laboratory.experiment.config import ExperimentConfig
from fedvoice.laboratory.experiment.plots import figures
from fedvoice.laboratory.experiment.progress import trial_dir
from fedvoice.laboratory.experiment.runner import Gathered
from fedvoice.laboratory.experiment.summary import (
    Line,
    summarise,
    summary_csv,
    summary_markdown,
    table_heads,
    table_rows,
    trials_csv,
)
from fedvoice.protocol.notes import counted
from fedvoice.reporting.advice import never_learned, rates_of_run
from fedvoice.reporting.page import (
    figure,
    folded,
    page,
    paragraph,
    preformatted,
    section,
    table,
)
from fedvoice.reporting.page import figures as figures_of_page
from fedvoice.reporting.tables import partition_table, usage_table
from fedvoice.reporting.words import by_speaker, read_transcripts, side_by_side

EXPERIMENT_FILE = "experiment.json"
REPORT_FILE = "report.html"

_FIGURES = {
    "wer-by-round": (
        "Quality by round",
        "The error rate of each arm after so many rounds, mean over its seeds, the shaded band one "
        "standard deviation either way. Lower is better.",
    ),
    "wer-by-cfmq": (
        "Quality by cost",
        "The same against what had been spent by then: CFMQ, bytes moved plus memory times steps. "
        "The curve that falls furthest left is the cheapest way to that quality.",
    ),
    "wer-by-bytes": (
        "Quality by bytes moved",
        "The same against communication alone, for phones whose network is the bottleneck.",
    ),
    "quality-and-cost": (
        "Arm beside arm",
        "Left: the error rate of every seed (dots) and their mean (diamond) with one standard "
        "deviation. Right: what a trial cost, both terms of CFMQ.",
    ),
    "pareto": (
        "Quality against cost",
        "Each arm's last error rate and whole cost. No arm beats one on the dashed line in both.",
    ),
    "loss-by-round": (
        "Training loss",
        "How badly the model fits the examples that it trains on, by round, mean over seeds. Only "
        "arms of the same model can be compared.",
    ),
}
_CFMQ = (
    "CFMQ is a run's cost in one number: R·K·(P + α·ν) for R rounds of K clients, P bytes moved to "
    "and from each, ν = local steps × the memory that training takes (Guliani, Beaufays, Motta "
    "2020, arXiv 2010.15965). The table has both terms. Error rates are mean ± standard deviation "
    "over seeds."
)


def write_experiment(
    out: Path, config: ExperimentConfig, trials_dir: Path, gathered: Gathered
) -> Path:
    """Write an experiment's tables, figures and report below `out`; the report's path."""
    out.mkdir(parents=True, exist_ok=True)
    fields = {
        "config": config.model_dump(mode="json"),
        "trials_dir": str(trials_dir.absolute()),
        # So that later reports need neither the corpora nor the same PyTorch.
        "digests": [trial.digest for trial in config.trials(str(out))],
    }
    (out / EXPERIMENT_FILE).write_text(json.dumps(fields, indent=1), encoding="utf-8")
    found = replace(gathered, trials_dir=trials_dir)
    return write_tables(out, [config], found, table_lines(config, gathered))


def write_tables(
    out: Path, configs: Sequence[ExperimentConfig], gathered: Gathered, lines: Sequence[Line]
) -> Path:
    """Write tables, figures and the report of one experiment, or of several together."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "trials.csv").write_text(trials_csv(gathered.outcomes), encoding="utf-8")
    (out / "summary.csv").write_text(summary_csv(lines), encoding="utf-8")
    (out / "summary.md").write_text(summary_markdown(lines), encoding="utf-8")
    drawn = figures(lines, configs[0].metric) if lines else {}
    for name, svg in drawn.items():
        path = out / "figures" / f"{name}.svg"
        path.parent.mkdir(exist_ok=True)
        path.write_text(svg, encoding="utf-8")
    settings = "\n".join(json.dumps(c.model_dump(mode="json"), indent=1) for c in configs)
    trials = gathered.outcomes
    rates = [rate for own in trials for rate in rates_of_run(own.results)]
    shown = page(
        " | ".join(config.title or config.name for config in configs),
        counted(len(trials), "trial"),
        [
            *(paragraph(f"Failed: {f.trial.name}: {f.error}", "note") for f in gathered.failures),
            paragraph(never_learned(rates) or "", "note"),
            _table(lines),
            paragraph(" ".join([_CFMQ, *(_tuned(config) for config in configs)])),
            figures_of_page([figure(*_titled(name, svg)) for name, svg in drawn.items()]),
            section("What was recognised", _recognised(lines, gathered)),
            section("What was used of the corpus", *_usages(gathered)),
            section("Settings", folded("Configuration", preformatted(settings))),
        ],
    )
    (out / REPORT_FILE).write_text(shown, encoding="utf-8")
    return out / REPORT_FILE


def table_lines(config: ExperimentConfig, gathered: Gathered) -> list[Line]:
    """The lines of an experiment's tables."""
    every = summarise(gathered.outcomes, config.references)
    return best_lines(every, config.tuned, config.metric)


def _titled(name: str, svg: str) -> tuple[str, str, str]:
    title, caption = _FIGURES[name]
    return title, svg, caption


def _recognised(lines: Sequence[Line], gathered: Gathered) -> str:
    """The transcripts of the best trial that kept some."""
    if gathered.trials_dir is None:
        return ""
    ranked = [
        (outcome.results.final.get("pooled"), place, outcome)
        for place, outcome in enumerate(outcome for line in lines for outcome in line.outcomes)
    ]
    for _, _, outcome in sorted((r for r in ranked if r[0] is not None), key=lambda r: r[:2]):
        found = read_transcripts(trial_dir(gathered.trials_dir, outcome.trial))
        if found:
            return "".join(
                [
                    paragraph(f"Of the trial with the lowest error rate: {outcome.trial.name}."),
                    side_by_side(found, outcome.results.final.get("usage")),
                    by_speaker(found),
                ]
            )
    return ""


def _usages(gathered: Gathered) -> list[str]:
    """What trials used of their corpora and how these were dealt, equal ones once."""
    found: dict[str, list[str]] = {}
    for outcome in gathered.outcomes:
        final = outcome.results.final
        own = usage_table(final.get("usage")) + partition_table(final.get("partition"))
        if own:
            found.setdefault(own, []).append(outcome.trial.name)
    if len(found) == 1:
        return list(found)
    return [
        folded(f"{names[0]}" + (f" and {len(names) - 1} more" if names[1:] else ""), own)
        for own, names in found.items()
    ]


def _tuned(config: ExperimentConfig) -> str:
    if not config.tuned:
        return ""
    names = ", ".join(config.tuned)
    return f"Every line has its own best value of {names}; trials.csv has all values."


def _table(lines: Sequence[Line]) -> str:
    return table(table_heads(lines), table_rows(lines))

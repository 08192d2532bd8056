"""An experiment's folder: tables, figures, and one self-contained report.html."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

from fedvoice.laboratory.experiment.best import best_lines
from fedvoice.laboratory.experiment.config import ExperimentConfig
from fedvoice.laboratory.experiment.plots import figures
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
from fedvoice.reporting.report import html_table

EXPERIMENT_FILE = "experiment.json"
REPORT_FILE = "report.html"

_TITLES = {
    "wer-by-round": "Quality by round",
    "wer-by-cfmq": "Quality by cost",
    "wer-by-bytes": "Quality by bytes moved",
    "quality-and-cost": "Arm beside arm: error rates of all seeds, and both terms of the cost",
    "pareto": "Quality against cost",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px;
       padding: 0 1rem; color: #222; }}
.plots {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(480px, 1fr)); gap: 1rem; }}
.plots svg {{ width: 100%; height: auto; }} .plots h3 {{ margin: .5rem 0 0; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }}
th, td {{ padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #eee; }}
td:first-child, th:first-child {{ text-align: left; }}
details {{ margin: 1rem 0; }} pre {{ background: #f6f6f6; padding: 1rem; overflow: auto; }}
</style></head><body>
<h1>{title}</h1>
<p>{trials} trials; error rates are mean &plusmn; standard deviation over seeds. CFMQ =
R&middot;K&middot;(P + &alpha;&middot;&nu;), &nu; = local steps &times; training memory (Guliani,
Beaufays, Motta 2020, arXiv 2010.15965).{tuned}</p>
{failed}{table}
<div class="plots">{plots}</div>
<details><summary>Configuration</summary><pre>{config}</pre></details>
</body></html>
"""


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
    return write_tables(out, [config], gathered, table_lines(config, gathered))


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
    failed = "".join(
        f"<p><b>Failed:</b> {html.escape(f.trial.name)}: {html.escape(str(f.error))}</p>"
        for f in gathered.failures
    )
    settings = "\n".join(json.dumps(c.model_dump(mode="json"), indent=1) for c in configs)
    page = _PAGE.format(
        title=html.escape(" | ".join(config.title or config.name for config in configs)),
        trials=len(gathered.outcomes),
        failed=failed,
        tuned="".join(_tuned(config) for config in configs),
        table=_table(lines),
        plots="".join(
            f"<div><h3>{html.escape(_TITLES[name])}</h3>{svg}</div>" for name, svg in drawn.items()
        ),
        config=html.escape(settings),
    )
    (out / REPORT_FILE).write_text(page, encoding="utf-8")
    return out / REPORT_FILE


def table_lines(config: ExperimentConfig, gathered: Gathered) -> list[Line]:
    """The lines of an experiment's tables."""
    every = summarise(gathered.outcomes, config.references)
    return best_lines(every, config.tuned, config.metric)


def _tuned(config: ExperimentConfig) -> str:
    if not config.tuned:
        return ""
    names = html.escape(", ".join(config.tuned))
    return f" Every line has its own best value of {names}; trials.csv has all values."


def _table(lines: Sequence[Line]) -> str:
    return html_table(
        [html.escape(head) for head in table_heads(lines)],
        [[html.escape(trial) for trial in row] for row in table_rows(lines)],
    )

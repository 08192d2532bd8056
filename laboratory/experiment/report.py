"""An experiment's folder: tables, figures, and one self-contained report.html."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

from android_harness.report import html_table
from laboratory.experiment.config import ExperimentConfig
from laboratory.experiment.outcome import Outcome
from laboratory.experiment.plots import figures
from laboratory.experiment.run import read_outcome
from laboratory.experiment.runner import Gathered, cell_dir
from laboratory.experiment.summary import (
    TABLE_HEADS,
    Line,
    cells_csv,
    summarise,
    summary_csv,
    summary_markdown,
    table_rows,
)
from protocol.errors import ErrorCode, FedvoiceError

EXPERIMENT_FILE = "experiment.json"
REPORT_FILE = "report.html"

_TITLES = {
    "wer-by-round": "Quality by round",
    "wer-by-cfmq": "Quality by cost",
    "wer-by-bytes": "Quality by bytes moved",
    "cost": "What it cost",
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
<p>{cells} runs; error rates are mean &plusmn; standard deviation over seeds. CFMQ =
R&middot;K&middot;(P + &alpha;&middot;&nu;), &nu; = local steps &times; training memory (Guliani,
Beaufays, Motta 2020, arXiv 2010.15965).</p>
{failed}{table}
<div class="plots">{plots}</div>
<details><summary>Configuration</summary><pre>{config}</pre></details>
</body></html>
"""


def write_experiment(
    out: Path, config: ExperimentConfig, cells_dir: Path, gathered: Gathered
) -> Path:
    """Write everything that is known of an experiment below `out`; the report's path."""
    out.mkdir(parents=True, exist_ok=True)
    fields = {"config": config.model_dump(mode="json"), "cells_dir": str(cells_dir.absolute())}
    (out / EXPERIMENT_FILE).write_text(json.dumps(fields, indent=1), encoding="utf-8")
    lines = summarise(gathered.outcomes)
    (out / "cells.csv").write_text(cells_csv(gathered.outcomes), encoding="utf-8")
    (out / "summary.csv").write_text(summary_csv(lines), encoding="utf-8")
    (out / "summary.md").write_text(summary_markdown(lines), encoding="utf-8")
    drawn = figures(lines, config.metric) if lines else {}
    for name, svg in drawn.items():
        path = out / "figures" / f"{name}.svg"
        path.parent.mkdir(exist_ok=True)
        path.write_text(svg, encoding="utf-8")
    failed = "".join(
        f"<p><b>Failed:</b> {html.escape(f.cell.name)}: {html.escape(str(f.error))}</p>"
        for f in gathered.failures
    )
    page = _PAGE.format(
        title=html.escape(config.title or config.name),
        cells=len(gathered.outcomes),
        failed=failed,
        table=_table(lines),
        plots="".join(
            f"<div><h3>{html.escape(_TITLES[name])}</h3>{svg}</div>" for name, svg in drawn.items()
        ),
        config=html.escape(json.dumps(config.model_dump(mode="json"), indent=1)),
    )
    (out / REPORT_FILE).write_text(page, encoding="utf-8")
    return out / REPORT_FILE


def render_again(out: Path) -> Path:
    """Write an experiment's tables and report once more from its cells; cells that are not done
    are left out.

    Raises:
        FedvoiceError: `not-found`, `bad-config`.
    """
    path = out / EXPERIMENT_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        config = ExperimentConfig.model_validate(fields["config"])
        cells_dir = Path(fields["cells_dir"])
    except OSError as error:
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=str(path),
            got=str(error.strerror),
            wanted="the folder of an experiment",
            next_step="Point at a folder that `fedvoice experiment run --out` wrote.",
        ) from error
    except (ValueError, KeyError) as error:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=str(path),
            got=f"{type(error).__name__}: {error}",
            wanted="an experiment of this version of fedvoice",
            next_step="Run the experiment again: finished cells are kept.",
        ) from error
    outcomes: list[Outcome] = []
    for cell in config.cells(str(path)):
        outcome = read_outcome(cell, cell_dir(cells_dir, cell))
        if outcome is not None:
            outcomes.append(outcome)
    return write_experiment(out, config, cells_dir, Gathered(outcomes, []))


def _table(lines: Sequence[Line]) -> str:
    return html_table(
        [html.escape(head) for head in TABLE_HEADS],
        [[html.escape(cell) for cell in row] for row in table_rows(lines)],
    )

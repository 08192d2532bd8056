"""`report.html`: one self-contained page with the plots and the table of a run."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedvoice.protocol.cost import human_bytes
from fedvoice.reporting.results import KindResult, Results, RoundResult

REPORT_FILE = "report.html"

_TEST, _HELD_OUT, _COMMUNICATION, _COMPUTE = "#1f5fa8", "#d1495b", "#2a9d8f", "#e9a23b"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1080px;
       padding: 0 1rem; color: #222; }}
h1 {{ margin-bottom: .2rem; }} .sub {{ color: #666; margin-top: 0; }}
.cards {{ display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.2rem 0; }}
.card {{ border: 1px solid #ddd; border-radius: 8px; padding: .6rem 1rem; min-width: 150px; }}
.card b {{ display: block; font-size: 1.5rem; }} .card span {{ color: #666; font-size: .85rem; }}
.plots {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(460px, 1fr)); gap: 1rem; }}
.plots svg {{ width: 100%; height: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }}
th, td {{ padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #eee; }}
th {{ position: sticky; top: 0; background: #fff; }}
details {{ margin: 1rem 0; }} pre {{ background: #f6f6f6; padding: 1rem; overflow: auto; }}
</style></head><body>
<h1>{title}</h1><p class="sub">{subtitle}</p>
<div class="cards">{cards}</div>
<div class="plots">{plots}</div>
<p>CFMQ = R&middot;K&middot;(P + &alpha;&middot;&nu;), &nu; = local steps &times; training memory
(Guliani, Beaufays, Motta 2020, arXiv 2010.15965). Communication is counted from the messages of
training rounds; computation is steps &times; (weights + gradient + optimiser state + planned
arena). &alpha; = {alpha:g}. The formula counts full batches; what was measured also has the smaller
ones at the end of each phone's length buckets. The measured peak of a phone's memory growth was
{peak}, against {memory} planned.</p>
{kinds}<h2>Rounds</h2>{table}
<details><summary>Configuration</summary><pre>{config}</pre></details>
</body></html>
"""


def write_report(directory: Path, results: Results) -> Path:
    """Write `directory/report.html` from `results`."""
    rounds = results.rounds
    name = str(results.config.get("name", "run"))
    last = rounds[-1] if rounds else None
    page = _PAGE.format(
        title=html.escape(f"fedvoice: {name}"),
        subtitle=html.escape(_subtitle(results)),
        cards="".join(
            f'<div class="card"><b>{html.escape(value)}</b><span>{html.escape(label)}</span></div>'
            for label, value in _cards(results)
        ),
        plots=_plots(results),
        alpha=float(results.config.get("alpha", 1.0)),
        peak=human_bytes(max((r.peak_memory_bytes for r in rounds), default=0)),
        memory=human_bytes(last.memory_bytes if last else 0),
        kinds=_kinds(results.kinds),
        table=_table(rounds),
        config=html.escape(json.dumps(results.config, indent=1)),
    )
    path = directory / REPORT_FILE
    path.write_text(page, encoding="utf-8")
    return path


def _subtitle(results: Results) -> str:
    last = results.rounds[-1] if results.rounds else None
    if last is None:
        return "no round was committed"
    secs = sum(r.wall_secs for r in results.rounds)
    return (
        f"{last.round} rounds, {last.clients} clients in the last, {secs / 60:.1f} minutes; "
        "emulated phones on one machine over gRPC, trained by the ExecuTorch runtime"
    )


def _cards(results: Results) -> list[tuple[str, str]]:
    cards = []
    for key, label in (
        ("wer", "WER, phones' own test speech"),
        ("heldout_wer", "WER, speakers never trained on"),
    ):
        if results.final.get(key) is not None:
            cards.append((label, f"{results.final[key]:.1f} %"))
    if results.rounds:
        last = results.rounds[-1]
        total = last.cfmq_communication_bytes + last.cfmq_compute_bytes
        cards += [
            ("CFMQ", human_bytes(total)),
            ("of it communication", human_bytes(last.cfmq_communication_bytes)),
            ("of it computation (byte-steps)", human_bytes(last.cfmq_compute_bytes)),
            ("CFMQ by the formula", human_bytes(last.analytic_cfmq_bytes)),
        ]
    return cards


def _plots(results: Results) -> str:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    mpl.rcParams.update({"svg.fonttype": "none", "axes.spines.top": False})
    mpl.rcParams.update({"axes.spines.right": False, "font.size": 10, "axes.grid": True})
    mpl.rcParams.update({"grid.alpha": 0.25})
    rounds, initial = results.rounds, results.final
    evaluated = [r for r in rounds if r.wer is not None or r.heldout_wer is not None]
    drawn = []

    def axes(title: str, x: str, y: str) -> Any:
        figure, axis = pyplot.subplots(figsize=(5.6, 3.6), layout="constrained")
        axis.set(title=title, xlabel=x, ylabel=y)
        drawn.append(figure)
        return axis

    def wer_lines(axis: Any, xs: list[float]) -> None:
        for key, label, colour in (
            ("wer", "own test speech", _TEST),
            ("heldout_wer", "held-out speakers", _HELD_OUT),
        ):
            values = [initial.get(f"initial_{key}"), *(getattr(r, key) for r in evaluated)]
            points = [(x, v) for x, v in zip([0.0, *xs], values, strict=True) if v is not None]
            if points:
                axis.plot(*zip(*points, strict=True), "o-", ms=3.5, color=colour, label=label)
        axis.set_ylim(bottom=0)
        if evaluated:
            axis.legend(frameon=False)

    wer_lines(axes("Quality", "round", "WER (%)"), [float(r.round) for r in evaluated])
    totals = [(r.cfmq_communication_bytes + r.cfmq_compute_bytes) / 1e9 for r in evaluated]
    wer_lines(axes("Quality against cost", "CFMQ (GB)", "WER (%)"), totals)
    axis = axes("Cost", "round", "GB, cumulative")
    numbers = [r.round for r in rounds]
    axis.stackplot(
        numbers,
        [r.cfmq_communication_bytes / 1e9 for r in rounds],
        [r.cfmq_compute_bytes / 1e9 for r in rounds],
        labels=["communication", "computation (memory x steps)"],
        colors=[_COMMUNICATION, _COMPUTE],
        alpha=0.85,
    )
    if rounds:
        axis.legend(frameon=False, loc="upper left")
    axis = axes("Training loss", "round", "loss (nats an utterance)")
    trained = [r for r in rounds if r.examples]
    axis.plot([r.round for r in trained], [r.loss for r in trained], color=_TEST)
    pictures = []
    for figure in drawn:
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg")
        pyplot.close(figure)
        svg = buffer.getvalue()
        pictures.append(f"<div>{svg[svg.index('<svg') :]}</div>")
    return "".join(pictures)


def _kinds(kinds: list[KindResult]) -> str:
    """The phones by kind, where there is more than one."""
    if len(kinds) < 2:
        return ""
    heads = ["kind", "clients", "updates", "examples", "steps", "training secs", "down", "up"]
    heads += ["WER", "held-out WER"]
    rows = [
        (
            k.kind,
            str(len(k.clients)),
            str(k.updates),
            str(k.examples),
            str(k.steps),
            f"{k.train_secs:.1f}",
            human_bytes(k.bytes_down),
            human_bytes(k.bytes_up),
            "" if k.wer is None else f"{k.wer:.1f}",
            "" if k.heldout_wer is None else f"{k.heldout_wer:.1f}",
        )
        for k in kinds
    ]
    who = "".join(
        f"<p>{html.escape(k.kind)}: {html.escape(', '.join(k.clients))}</p>" for k in kinds
    )
    return (
        f"<h2>Kinds of phones</h2>{html_table(heads, rows)}"
        f"<details><summary>Which phone is which</summary>{who}</details>"
    )


def _table(rounds: list[RoundResult]) -> str:
    heads = ["round", "end", "clients", "examples", "steps", "loss", "WER", "held-out WER"]
    heads += ["down", "up", "CFMQ comm.", "CFMQ comp.", "secs"]
    rows = [
        (
            str(r.round),
            r.end,
            str(r.clients),
            str(r.examples),
            str(r.steps),
            f"{r.loss:.3f}",
            "" if r.wer is None else f"{r.wer:.1f}",
            "" if r.heldout_wer is None else f"{r.heldout_wer:.1f}",
            human_bytes(r.bytes_down),
            human_bytes(r.bytes_up),
            human_bytes(r.cfmq_communication_bytes),
            human_bytes(r.cfmq_compute_bytes),
            f"{r.wall_secs:.1f}",
        )
        for r in rounds
    ]
    return html_table(heads, rows)


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

"""`report.html` of one run: a self-contained page."""

from __future__ import annotations

import json
from pathlib import Path

from fedvoice.protocol.cost import human_bytes
from fedvoice.protocol.notes import counted
from fedvoice.reporting.advice import never_learned, rates_of_run
from fedvoice.reporting.figures import run_figures
from fedvoice.reporting.page import (
    cards,
    figures,
    folded,
    page,
    paragraph,
    preformatted,
    section,
)
from fedvoice.reporting.rates import RATES
from fedvoice.reporting.results import Results
from fedvoice.reporting.tables import kinds_table, partition_table, rounds_table, usage_table
from fedvoice.reporting.words import by_speaker, read_transcripts, side_by_side

REPORT_FILE = "report.html"
_FLEET = "emulated phones on one machine over gRPC, trained by the ExecuTorch runtime"
SERVER = "phones that call a server over gRPC"


def write_report(directory: Path, results: Results, how: str = "") -> Path:
    """Write `directory/report.html` from `results` and the folder's transcripts, if it has any.

    Args:
        how: what the run was, in a few words; empty: as its settings tell.

    Raises:
        FedvoiceError: `missing-extra` without matplotlib.
    """
    found = read_transcripts(directory)
    final = results.final
    body = [
        paragraph(never_learned(rates_of_run(results)) or "", "note"),
        cards(_cards(results)),
        section("Figures", figures(run_figures(results))),
        section("What the cost counts", paragraph(_cost(results))),
        section("What was recognised", side_by_side(found, final.get("usage"))),
        section("Speakers", by_speaker(found)),
        section("What was used of the speech", usage_table(final.get("usage")),
                partition_table(final.get("partition"))),
        section("Kinds of phones", kinds_table(results.kinds)),
        section("Rounds", rounds_table(results.rounds)),
        section("Settings", folded("Configuration", preformatted(
            json.dumps(results.config, indent=1, ensure_ascii=False)))),
    ]  # fmt: skip
    name = str(results.config.get("name", "run"))
    path = directory / REPORT_FILE
    path.write_text(page(f"fedvoice: {name}", _subtitle(results, how), body), encoding="utf-8")
    return path


def _subtitle(results: Results, how: str) -> str:
    last = results.rounds[-1] if results.rounds else None
    if last is None:
        return "no round was committed"
    secs = sum(r.wall_secs for r in results.rounds)
    engine = results.config.get("engine", "phones")
    how = how or (_FLEET if engine == "phones" else f"a simulation without phones, engine {engine}")
    return (
        f"{counted(len(results.rounds), 'round')}, {counted(last.clients, 'client')} in the last, "
        f"{secs / 60:.1f} minutes; {how}"
    )


def _cards(results: Results) -> list[tuple[str, str, str]]:
    shown = []
    for rate in RATES:
        value = results.final.get(rate.name)
        if value is not None:
            first = results.final.get(f"initial_{rate.name}")
            told = "" if first is None else f"{first:.1f} % before training"
            shown.append((rate.label, f"{value:.1f} %", told))
    if results.rounds:
        last = results.rounds[-1]
        moved, computed = last.cfmq_communication_bytes, last.cfmq_compute_bytes
        alpha = float(results.config.get("alpha", 1.0))
        shown += [
            ("CFMQ", human_bytes(moved + alpha * computed), "what this quality cost in all"),
            ("of it communication", human_bytes(moved), "bytes of all messages of training"),
            ("of it computation", human_bytes(computed), "a phone's training memory x its steps"),
            (
                "CFMQ by the formula",
                human_bytes(last.analytic_cfmq_bytes),
                "the same rounds as the paper counts them, for comparison",
            ),
        ]
    return shown


def _cost(results: Results) -> str:
    """CFMQ explained with this run's numbers."""
    if not results.rounds:
        return ""
    rounds, last = results.rounds, results.rounds[-1]
    peak = max(r.peak_memory_bytes for r in rounds)
    alpha = float(results.config.get("alpha", 1.0))
    return (
        "CFMQ is the cost of a federated run in one number: R·K·(P + α·ν) for R rounds of K "
        "phones, P bytes moved to and from each, and ν = local steps × the memory that training "
        "takes on a phone (Guliani, Beaufays, Motta 2020, arXiv 2010.15965). Here communication is "
        "counted from the messages themselves, and computation is steps × (weights + gradient + "
        f"optimiser state + planned arena); α = {alpha:g} weighs one against the other. The "
        "formula counts full batches; what was measured also has the smaller ones at the end of "
        f"each phone's length buckets. {human_bytes(last.memory_bytes)} of memory were planned for "
        f"a phone's training; the largest measured growth was {human_bytes(peak)}."
    )

"""A manifest's report as tables with small histograms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedvoice.data.check import ManifestReport

_BARS = " ▁▂▃▄▅▆▇█"
_BINS = 24


def histogram(values: Sequence[float]) -> str:
    """Counts of values in equal steps from the least to the most, as bars: "0.3 ▁▄█▂ 4.1"."""
    if not len(values):
        return ""
    counts, edges = np.histogram(np.asarray(values, dtype=np.float64), bins=_BINS)
    heights = np.ceil(counts / counts.max() * (len(_BARS) - 1)).astype(int)
    bars = "".join(_BARS[height] for height in heights)
    return f"{edges[0]:.3g} {bars} {edges[-1]:.3g}"


def print_report(report: ManifestReport, console: Console) -> None:
    """Print what was found."""
    table = Table(title=escape(report.manifest), show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in _facts(report):
        table.add_row(name, escape(value))
    console.print(table)
    left = Table("left out", "utterances", "first", title_justify="left")
    for reason, part in report.usage.left_out.items():
        left.add_row(reason, str(part.count), escape(part.first))
    console.print(left if report.usage.left_out else "nothing is left out")
    for warning in report.warnings:
        console.print(f"[yellow]![/] {escape(warning)}", soft_wrap=True)
    console.print(_VERDICTS[report.exit_code])


_VERDICTS = (
    "clean: every utterance is used",
    "usable: some utterances are left out",
    "unusable as it is: correct what is named above",
)


def _facts(report: ManifestReport) -> list[tuple[str, str]]:
    amounts = list(report.speakers.values())
    words = report.words["train"] + report.words["test"]
    return [
        (
            "utterances",
            f"{report.utterances}, {report.usage.used} used"
            + "".join(f", {count} {split}" for split, count in sorted(report.splits.items())),
        ),
        ("speech", _hours(report.seconds)),
        ("seconds each", histogram(report.durations)),
        ("speakers", f"{len(amounts)}, {min(amounts)} to {max(amounts)} utterances each"),
        ("utterances of a speaker", histogram(amounts)),
        ("sample rates", ", ".join(f"{rate} Hz: {n}" for rate, n in report.rates.most_common())),
        ("channels", ", ".join(f"{k}: {n}" for k, n in report.channels.most_common())),
        ("words", f"{words.total()}, {len(words)} distinct"),
        ("characters", "".join(sorted(report.characters)).strip()),
    ]


def _hours(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"

"""`fedvoice export`: a checked task package from a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from fedvoice.protocol.errors import make_folder
from fedvoice.protocol.usage import demand_usable

if TYPE_CHECKING:
    from fedvoice.model_export.package import ExportSummary

MOST_LINES = 12
"""Of one cell of the table."""


def export(
    out: Annotated[Path, typer.Option(help="Folder for the task package.")],
    config: Annotated[
        Path | None, typer.Option(help="TOML file: model, features, vocabulary, buckets, plan.")
    ] = None,
    module: Annotated[
        str,
        typer.Option(
            help="A torch module of yours, as package.module:Class, in place of the file's model; "
            "without a file give --manifest, too. docs/your-model.md says what it must have."
        ),
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="An argument of its constructor, e.g. layers=4; repeatable."),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Take the targets from this manifest's texts, not from the file."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Start from these weights, not random ones: safetensors, or a torch checkpoint."
        ),
    ] = None,
    weights_map: Annotated[
        Path | None,
        typer.Option(help="TOML file: the names that the weights' file has for the model's."),
    ] = None,
    allow_partial_weights: Annotated[
        bool,
        typer.Option(
            "--allow-partial-weights",
            help="Go on though the file lacks some of the model, which stays at random values.",
        ),
    ] = False,
    allow_skipped: Annotated[
        bool,
        typer.Option(
            "--allow-skipped",
            help="Go on though the task could not use over a tenth of the manifest.",
        ),
    ] = False,
) -> None:
    """Export a model as a task package that phones can train.

    Gradients, decoders and features of the finished program are checked against eager PyTorch
    on the ExecuTorch runtime first; a faulty program is not written.

    Example: fedvoice export --config experiments/export-words.toml --out task
    Example: fedvoice export --module mymodel:Conformer --manifest speech.jsonl --out task
    """
    from fedvoice.data.fit import usage_of_texts
    from fedvoice.model_export.config import read_config
    from fedvoice.model_export.fresh import unexported_manifest
    from fedvoice.model_export.package import export_task
    from fedvoice.model_export.seeds import read_weights_map
    from fedvoice.protocol.settings import parse_settings

    console = Console()
    if config is None and (not module or manifest is None):
        raise typer.BadParameter("give --config FILE, or --module NAME with --manifest FILE")
    if settings and not module:
        raise typer.BadParameter("--set is for --module; change the file's [model] instead")
    if weights is None and (weights_map is not None or allow_partial_weights):
        raise typer.BadParameter("--weights-map and --allow-partial-weights are for --weights FILE")
    names = None if weights_map is None else read_weights_map(weights_map)
    task = read_config(config, manifest, module, parse_settings(settings or []))
    if task.vocabulary.manifest is not None:
        usage = usage_of_texts(task.vocabulary.manifest, unexported_manifest(task))
        console.print(usage.describe(), highlight=False, soft_wrap=True)
        demand_usable(usage, str(task.vocabulary.manifest), allow_skipped=allow_skipped)
    make_folder(out)
    with console.status("export") as status:

        def show(part: str) -> None:
            status.update(f"export {task.name}: {part}")
            if not console.is_terminal:
                console.print(f"{part} ...", highlight=False)

        summary = export_task(
            task,
            out,
            weights=weights,
            weights_map=names,
            allow_partial_weights=allow_partial_weights,
            progress=show,
        )
    for line in summary.seeds.lines() if summary.seeds else ():
        console.print(line, highlight=False, soft_wrap=True)
    console.print(summary_table(summary))


def summary_table(summary: ExportSummary) -> Table:
    """The export as a printed table."""
    manifest = summary.package.manifest
    worst = summary.worst_gradient
    table = Table(title=f"task {manifest.name}", show_header=False)
    table.add_row("model", f"{manifest.model_kind}, {summary.parameters:,} parameters")
    targets = f"{manifest.vocabulary.size - 1} {manifest.vocabulary.kind.value} tokens and blank"
    table.add_row("targets", targets)
    table.add_row("payload, each way", f"{summary.payload_bytes:,} bytes (float32 weights)")
    table.add_row("program", f"{summary.program_bytes:,} bytes")
    for method, arena_bytes in summary.arena_bytes.items():
        table.add_row(f"method {method}", f"arena {arena_bytes:,} bytes")
    operators = f"{len(manifest.operators)} operators, {', '.join(manifest.delegates)}"
    table.add_row("runtime must have", operators)
    worst_at = f"{worst.error:.1e} of its largest entry ({worst.parameter}, {worst.bucket})"
    table.add_row("worst gradient error", worst_at)
    if summary.features_error is not None:
        table.add_row("worst feature error", f"{summary.features_error:.1e}")
    if summary.account is not None:
        table.add_row("rewritten", ", ".join(summary.account.rewritten) or "nothing")
        numbers = shown(summary.account.numbers) or "none"
        table.add_row("numbers fixed, as in a full bucket", numbers)
        table.add_row("parameters without gradient", shown(summary.account.unused) or "none")
    table.add_row("took", f"{summary.export_secs:.0f} s")
    table.add_row("written to", str(summary.package.directory))
    return table


def shown(lines: Sequence[str]) -> str:
    """The first ones, a line each, and how many more there are."""
    more = len(lines) - MOST_LINES
    return "\n".join([*lines[:MOST_LINES], *([f"and {more} more"] if more > 0 else [])])

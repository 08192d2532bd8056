"""`fedvoice experiment`."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

experiment = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

_CELLS = "Folder of finished and unfinished cells, shared by all experiments."


@experiment.callback()
def about() -> None:
    """Experiments on quality and cost: grids of simulated runs as TOML files."""


@experiment.command()
def run(
    config: Annotated[
        Path, typer.Argument(help="The experiment, e.g. experiments/noniid-gap.toml")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of tables and report; default: runs/NAME.")
    ] = None,
    cells: Annotated[Path, typer.Option(help=_CELLS)] = Path("runs/cells"),
    jobs: Annotated[
        int | None, typer.Option(help="Cells at a time; default: one a core.", min=1)
    ] = None,
    seeds: Annotated[str, typer.Option(help="Other seeds than the file's, e.g. 0,1,2.")] = "",
    arms: Annotated[str, typer.Option(help="Only these arms, e.g. iid,limited.")] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the base, e.g. --set server.rounds=8."),
    ] = None,
) -> None:
    """Run an experiment's cells, in parallel where cores allow, and write its report.

    Cells that are done are never run again, whatever experiment they were run for; an interrupted
    experiment goes on where it stopped. OUT then holds report.html, summary.csv, summary.md,
    cells.csv and figures/.

    Example: fedvoice experiment run experiments/noniid-gap.toml --seeds 0
    """
    from rich.console import Console

    from laboratory.experiment.config import load_experiment
    from laboratory.experiment.report import write_experiment
    from laboratory.experiment.runner import run_cells
    from laboratory.experiment.view import ExperimentView

    console = Console()
    loaded = load_experiment(config, parse_settings(settings or []))
    loaded = loaded.narrowed(_numbers(seeds), [a for a in arms.split(",") if a], str(config))
    wanted = loaded.cells(str(config))
    out = out or Path("runs") / loaded.name
    workers = jobs or os.cpu_count() or 1
    console.print(f"[bold]{loaded.name}[/bold]: {len(wanted)} cells, {workers} at a time")
    try:
        with ExperimentView(console, len({c.digest for c in wanted}), loaded.metric) as view:
            gathered = run_cells(wanted, cells, workers, view)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on where it stopped", err=True)
        raise typer.Exit(130) from None
    path = write_experiment(out, loaded, cells, gathered)
    console.print((out / "summary.md").read_text(encoding="utf-8"), highlight=False, markup=False)
    console.print(f"report: {path}")
    if gathered.failures:
        for failure in gathered.failures:
            typer.echo(f"failed: {failure.cell.name}: {failure.error}", err=True)
        raise typer.Exit(1)


def parse_settings(given: list[str]) -> dict[str, Any]:
    """`name=value` as dotted name -> value; values are TOML, or plain words.

    Raises:
        typer.BadParameter: without an equals sign.
    """
    parsed: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text}: wanted name=value, e.g. server.rounds=8")
        try:
            parsed[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed[name.strip()] = value
    return parsed


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError as error:
        raise typer.BadParameter(f"{text}: wanted numbers, e.g. 0,1,2") from error

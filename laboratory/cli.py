"""`fedvoice experiment` and `fedvoice report`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from fedvoice.laboratory.experiment.places import HELP

_log = logging.getLogger("fedvoice.laboratory")

LOCAL = "local"

experiment = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="rich")


@experiment.callback()
def about() -> None:
    """Experiments on quality and cost: grids of simulated trials as TOML files.

    A file holds what all trials share (corpus, model, plan, server), the arms that are compared,
    and the seeds. [bold]fedvoice experiment run[/bold] runs every trial once and stores its
    results; [bold]fedvoice report[/bold] writes an experiment's tables again, or one report of
    several experiments.
    docs/laboratory.md explains every table of the file.

    Example: fedvoice experiment run experiments/noniid-gap.toml --dry-run
    """


@experiment.command()
def run(
    config: Annotated[
        Path, typer.Argument(help="The experiment, e.g. experiments/noniid-gap.toml")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of tables and report; default: runs/NAME.")
    ] = None,
    trials_dir: Annotated[Path | None, typer.Option(help=HELP)] = None,
    cells: Annotated[
        Path | None, typer.Option(help="Old name of --trials-dir.", hidden=True)
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Trials at a time; default: all cores busy.", min=1)
    ] = None,
    seeds: Annotated[str, typer.Option(help="Other seeds than the file's, e.g. 0,1,2.")] = "",
    arms: Annotated[str, typer.Option(help="Only these arms, e.g. iid,limited.")] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of the base, e.g. --set server.rounds=8; what an arm or the grid sets "
            "stays.",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes that share the clients of one trial's rounds.", min=1)
    ] = 1,
    worker_pool: Annotated[
        str | None,
        typer.Option(
            help="Where the clients of trials are trained: local (default), ray (trials too; needs "
            "the extra `ray`), or a pool of your own, module:name."
        ),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="Old name of --worker-pool.", hidden=True)
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="Address of a Ray cluster, host:port or auto; default: a new one on this machine."
        ),
    ] = None,
    allow_skipped: Annotated[
        bool,
        typer.Option("--allow-skipped", help="Go on though over a tenth of a corpus is unusable."),
    ] = False,
    log: Annotated[
        list[str] | None,
        typer.Option(
            "--log",
            help="Also keep each trial that runs in an experiment tracker: csv, tensorboard, "
            "mlflow, wandb, or a callback of your own; repeatable.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only list which trials are done, estimate the time of the rest, and see that "
            "their corpora are there.",
        ),
    ] = False,
) -> None:
    """Run an experiment's trials, in parallel where cores allow, and write its report.

    A finished trial is never run again, whichever experiment it was run for; an interrupted
    experiment is resumed. OUT then holds report.html, summary.csv, summary.md,
    trials.csv and figures/.

    Example: fedvoice experiment run experiments/noniid-gap.toml --seeds 0
    """
    from rich.console import Console

    from fedvoice.laboratory.experiment.config import load_experiment
    from fedvoice.laboratory.experiment.corpora import corpus_lines
    from fedvoice.laboratory.experiment.forecast import look
    from fedvoice.laboratory.experiment.places import trials_folder
    from fedvoice.laboratory.experiment.report import table_lines, write_experiment
    from fedvoice.laboratory.experiment.runner import run_trials
    from fedvoice.laboratory.experiment.view import ExperimentView, show_plan, show_summary
    from fedvoice.protocol.errors import make_folder
    from fedvoice.protocol.settings import parse_settings
    from fedvoice.reporting.advice import never_learned, rates_of_run
    from fedvoice.reporting.callbacks import make_callbacks
    from fedvoice.simulation.workers.spread import Spread

    console = Console()
    make_callbacks(log or [])  # one that cannot be had says so before the long part
    loaded = load_experiment(config, parse_settings(settings or []))
    loaded = loaded.narrowed(_numbers(seeds), [a for a in arms.split(",") if a], str(config))
    wanted = loaded.trials(str(config))
    kept = trials_folder(trials_dir, cells)
    out = out or Path("runs") / loaded.name
    spread = Spread(workers, pool_name(worker_pool, backend))
    at_a_time = jobs or max(1, (os.cpu_count() or 1) // workers)
    if spread.ray and not dry_run:
        from fedvoice.simulation.workers.ray_pool import connect, count_cores

        connect(ray_address)
        at_a_time = jobs or max(1, count_cores() // workers)
    console.print(f"[bold]{loaded.name}[/bold]: {len(wanted)} trials, {at_a_time} at a time")
    if dry_run:
        standings = look(wanted, kept)
        show_plan(console, standings, at_a_time)
        lines, errors = corpus_lines([own.trial for own in standings if not own.done])
        for line in lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        for error in errors:
            typer.echo(f"cannot run: {error}", err=True)
        if errors:
            raise typer.Exit(2)
        return
    make_folder(out)  # an unwritable folder fails before the long part
    try:
        with ExperimentView(console, len({c.digest for c in wanted}), loaded.metric) as view:
            gathered = run_trials(
                wanted,
                kept,
                at_a_time,
                view,
                spread,
                (*loaded.callbacks, *(log or [])),
                allow_skipped=allow_skipped,
            )
    except KeyboardInterrupt:
        typer.echo("stopped; the same command resumes", err=True)
        raise typer.Exit(130) from None
    path = write_experiment(out, loaded, kept, gathered)
    show_summary(console, table_lines(loaded, gathered))
    rates = [rate for own in gathered.outcomes for rate in rates_of_run(own.results)]
    if advice := never_learned(rates):
        console.print(advice, highlight=False)
    console.print(f"report: {path}", highlight=False, soft_wrap=True)
    if gathered.failures:
        for failure in gathered.failures:
            typer.echo(f"failed: {failure.trial.name}: {failure.error}", err=True)
        raise typer.Exit(1)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Folders that `fedvoice simulate` or `fedvoice experiment run` wrote, or stores "
            "of `fedvoice serve`."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="One report of several experiments, with all their arms, goes here."),
    ] = None,
) -> None:
    """Write report.html again from the results in each run's folder.

    A server's store is reported from its books, also while the server runs.

    Example: fedvoice report runs/noniid-gap runs/fvn --out runs/both
    """
    from fedvoice.laboratory.experiment.again import combine, is_experiment, render_again
    from fedvoice.reporting.report import SERVER, write_report
    from fedvoice.reporting.results import read_results
    from fedvoice.server.tracking import is_store, read_run

    if out is not None:
        typer.echo(str(combine(runs, out)))
        return
    for run in runs:
        if is_experiment(run):
            again = render_again(run)
        elif is_store(run):
            again = write_report(run, read_run(run), SERVER)
        else:
            again = write_report(run, read_results(run))
        typer.echo(str(again))


@experiment.command()
def averaging(
    folder: Annotated[Path, typer.Option(help="Folder of MNIST's four idx files.")],
    out: Annotated[Path, typer.Option(help="Folder of the figure and its numbers.")] = Path(
        "runs/averaging"
    ),
    seed: Annotated[
        int, typer.Option(help="Seed of the partition and the initial weights.", min=0)
    ] = 0,
    images: Annotated[
        int, typer.Option(help="Number of training images that the loss is measured on.", min=1)
    ] = 60_000,
) -> None:
    """Average two models from the same and from different initial weights, and draw the loss.

    Both learn 600 images of their own (McMahan et al. 2016, figure 1). OUT then holds
    averaging.csv and averaging.svg.

    Example: fedvoice experiment averaging --folder mnist
    """
    from fedvoice.laboratory.averaging import FIGURE_FILE, AveragingConfig, run_averaging
    from fedvoice.protocol.errors import make_folder

    make_folder(out)
    found = run_averaging(folder, out, AveragingConfig(seed=seed, loss_images=images))
    typer.echo(f"{'loss':<28} {'one model':>10} {'the other':>10} {'average':>10}")
    for place, name in enumerate(("shared initial weights", "different initial weights")):
        one, other, average = (found.at(theta)[place] for theta in (1.0, 0.0, 0.5))
        typer.echo(f"{name:<28} {one:>10.3f} {other:>10.3f} {average:>10.3f}")
    typer.echo(f"figure: {out / FIGURE_FILE}")


def pool_name(given: str | None, old: str | None) -> str:
    """The worker pool that a command uses, as `Spread` names it: `--worker-pool`, or `old`, its
    name in 0.1.0. "" (`local`): by the number of workers.

    Raises:
        typer.BadParameter: for a name that nobody knows.
    """
    from fedvoice.simulation.workers.spread import WORKER_POOLS

    if given is None and old is not None:
        _log.warning("--backend is called --worker-pool now; the next release drops the old name")
    name = given or old or LOCAL
    if name == LOCAL:
        return ""
    try:
        return WORKER_POOLS.known(name)
    except ValueError as error:
        raise typer.BadParameter(f"--worker-pool {name}: {error}, or {LOCAL}") from error


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError as error:
        raise typer.BadParameter(f"{text}: wanted numbers, e.g. 0,1,2") from error

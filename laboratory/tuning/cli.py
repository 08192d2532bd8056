"""`fedvoice tune`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fedvoice.laboratory.experiment.places import HELP


def tune(
    config: Annotated[Path, typer.Argument(help="The search, e.g. experiments/tune-words.toml.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study and its report; default: runs/NAME.")
    ] = None,
    trials_dir: Annotated[Path | None, typer.Option(help=HELP)] = None,
    cells: Annotated[
        Path | None, typer.Option(help="Old name of --trials-dir.", hidden=True)
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Trials in all, those already done included.", min=1)
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Trials at a time; default: one a core.", min=1)
    ] = None,
    verify: Annotated[
        bool, typer.Option(help="In the end compare best and hand-set plan on fresh seeds.")
    ] = True,
    allow_skipped: Annotated[
        bool,
        typer.Option("--allow-skipped", help="Go on though over a tenth of a corpus is unusable."),
    ] = False,
) -> None:
    """Search for plans with two objectives, error rate and CFMQ, with Optuna.

    Trials that are worse than half of the others at the same cost are pruned: for the sampler they
    are poor points, all alike. No point is tried twice. The study is a SQLite file: the same
    command resumes it with new points, also with more --trials; one command at a time searches in
    a folder. OUT then holds report.html with the Pareto plot, trials.csv, best.json and study.db.

    Example: fedvoice tune experiments/tune-words.toml --trials 20
    """
    from rich.console import Console

    from fedvoice.laboratory.experiment.places import trials_folder
    from fedvoice.laboratory.experiment.progress import TrialProgress
    from fedvoice.laboratory.tuning.config import load_tuning
    from fedvoice.laboratory.tuning.report import write_search
    from fedvoice.laboratory.tuning.study import Search, held
    from fedvoice.laboratory.tuning.verify import compare

    console = Console(highlight=False, soft_wrap=True)
    loaded = load_tuning(config, trials)
    kept = trials_folder(trials_dir, cells)
    out = out or Path("runs") / loaded.name
    workers = jobs or os.cpu_count() or 1
    with held(out):
        search = Search(loaded, out, kept, str(config), allow_skipped=allow_skipped)
        wanted = loaded.search.trials
        console.print(
            f"[bold]{loaded.name}[/bold]: {search.finished} of {wanted} trials are done, "
            f"{workers} at a time"
        )
        try:
            with console.status("searching") as status:
                said: set[str] = set()

                def progressed(progress: TrialProgress) -> None:
                    if progress.said:
                        if progress.said not in said:
                            said.add(progress.said)
                            console.print(progress.said, markup=False)
                        return
                    note = f": {progress.note}" if progress.note else ""
                    status.update(f"a trial is at round {progress.done} of {progress.rounds}{note}")

                search.run(
                    workers,
                    lambda number, told: console.print(
                        f"[{search.finished}/{wanted}] trial {number}: {told}", markup=False
                    ),
                    progressed,
                )
                status.update("comparing on fresh seeds")
                verdict = compare(search, loaded, kept, workers) if verify else None
        except KeyboardInterrupt:
            typer.echo("stopped; the same command resumes", err=True)
            raise typer.Exit(130) from None
        path = write_search(out, search, loaded, verdict)
    if search.finished < wanted:
        console.print(f"every point of the space has been tried: {search.finished} of {wanted}")
    if verdict is not None:
        console.print(str(verdict))
        console.print(f"best plan: {verdict.point}", markup=False)
    console.print(f"report: {path}")

"""`fedvoice simulate` and `fedvoice evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedvoice.protocol.notes import counted
from fedvoice.protocol.usage import Usage

Log = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        help="Also keep the run in an experiment tracker: csv, tensorboard, mlflow, wandb, or a "
        "callback of your own; repeatable.",
    ),
]
AllowSkipped = Annotated[
    bool,
    typer.Option("--allow-skipped", help="Go on though over a tenth of the speech is unusable."),
]


def simulate(
    config: Annotated[Path, typer.Option(help="The run's TOML file, e.g. experiments/demo.toml.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an interrupted run is resumed.")],
    manifest: Annotated[
        Path | None, typer.Option(help="Speech to use instead of the file's: JSON lines.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Training rounds (R).", min=1)] = None,
    cohort_size: Annotated[int | None, typer.Option(help="Updates a round (K).", min=1)] = None,
    partition: Annotated[
        str | None,
        typer.Option(help="Partition: speaker, iid, word, shards, dirichlet, or module:function."),
    ] = None,
    holdout_speakers: Annotated[
        int | None, typer.Option(help="Speakers that never train, for the held-out WER.")
    ] = None,
    data_limit: Annotated[
        int | None, typer.Option(help="Data limit L: most examples of a client a round; 0: all.")
    ] = None,
    download_encoding: Annotated[
        str | None,
        typer.Option(
            help="How weights go to phones: float32, float16 (a half of the bytes), int8 (a "
            "quarter), each also with +zstd."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, cohorts and clients.")] = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes that the phones share.", min=1)
    ] = None,
    phones: Annotated[
        str,
        typer.Option(
            help="How many phones of each kind, e.g. python=30,android=4; a kind left out, or "
            "given as *, takes the rest. Android phones need `make android`."
        ),
    ] = "",
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier run in the folder.")] = False,
    log: Log = None,
    allow_skipped: AllowSkipped = False,
) -> None:
    """A server and a fleet of emulated phones on this machine train one recogniser.

    Each phone runs the real device runtime (ExecuTorch) and talks to the server over gRPC; phones
    share a few processes. OUT then holds report.html, results.json, weights.safetensors, the task
    package task/ and the server's store server/.

    Example: fedvoice simulate --config experiments/demo.toml --out runs/demo
    """
    from rich.console import Console

    from fedvoice.data.dataset import report_of_phones
    from fedvoice.reporting.advice import never_learned, rates_of_run
    from fedvoice.reporting.callbacks import Callbacks, RunInfo, make_callbacks
    from fedvoice.reporting.following import Following
    from fedvoice.reporting.report import write_report
    from fedvoice.reporting.results import Books
    from fedvoice.reporting.view import PreparationView, RoundTable
    from fedvoice.simulation.fleet.config import load_config
    from fedvoice.simulation.fleet.kinds import parse_counts
    from fedvoice.simulation.fleet.prepare import claim_directory, prepare
    from fedvoice.simulation.fleet.run import books_of, config_of
    from fedvoice.simulation.fleet.run import simulate as run_simulation
    from fedvoice.simulation.fleet.server import server_config

    console = Console()
    told = Callbacks(make_callbacks(log or []))
    settings = load_config(
        config,
        {
            "data.manifest": manifest,
            "data.partition": partition,
            "data.holdout_speakers": holdout_speakers,
            "server.rounds": rounds,
            "server.cohort_size": cohort_size,
            "server.download_encoding": download_encoding,
            "plan.data_limit": data_limit,
            "fleet.processes": processes,
            "fleet.phones": parse_counts(phones) if phones else None,
            "seed": seed,
        },
    )
    if resumed := claim_directory(settings, out, overwrite=overwrite):
        console.print(f"resuming the run in {out}")
    try:
        with PreparationView(console) as view:
            prepared = prepare(settings, out, view.show, allow_skipped=allow_skipped)
    except KeyboardInterrupt:
        raise _stopped(out) from None
    training = sum(1 for phone in prepared.phones if phone.train)
    package = prepared.package.manifest
    console.print(
        f"[bold]{settings.name}[/bold]: {package.model_kind}, "
        f"{package.parameters.parameter_count:,} parameters, {training} phones that train, "
        f"{len(prepared.phones) - training} held out"
    )
    partition = report_of_phones(prepared.phones).describe("utterances")
    for line in (f"partition: {partition}", *prepared.usage.lines()):
        console.print(line, highlight=False, soft_wrap=True)
        told.stated(line)
    total = server_config(settings, prepared.phones).rounds
    info = RunInfo(settings.name, total, config=config_of(prepared), folder=out, resumed=resumed)
    told.began(info)
    following = Following(told, total)
    try:
        with RoundTable(console, total) as table:

            def observe(books: Books) -> None:
                table.show(books)
                following.show(books)

            results = run_simulation(prepared, observe)
    except KeyboardInterrupt:
        raise _stopped(out) from None
    following.show(books_of(prepared), last=True)
    report_path = write_report(out, results)
    told.ended(results)
    _summarise(console, results.final, results.rounds[-1] if results.rounds else None)
    if advice := never_learned(rates_of_run(results)):
        console.print(advice, highlight=False)
    console.print(f"report: {report_path}")


def evaluate(
    task: Annotated[Path, typer.Option(help="Task package.")],
    weights: Annotated[Path, typer.Option(help="Weights as safetensors.")],
    manifest: Annotated[Path, typer.Option(help="Utterances to recognise: JSON lines.")],
    engine: Annotated[
        str, typer.Option(help="executorch: what phones run; torch: eager PyTorch.")
    ] = "executorch",
    split: Annotated[str, typer.Option(help="Only utterances of this split; empty: all.")] = "",
    threads: Annotated[int, typer.Option(help="Threads of the engine.", min=1)] = 1,
    allow_skipped: AllowSkipped = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Word and character error rates of a model on a manifest, greedy, in percent."""
    import json as json_module

    from rich.console import Console

    from fedvoice.simulation.evaluation import evaluate_manifest

    result = evaluate_manifest(
        task,
        weights,
        manifest,
        engine=engine,
        split=split,
        threads=threads,
        allow_skipped=allow_skipped,
    )
    if json:
        typer.echo(json_module.dumps(result))
        return
    usage = Usage.from_dict(result)
    cer = "" if result["cer"] is None else f", CER {result['cer']:.2f} %"
    Console(highlight=False).print(
        f"WER {result['wer']:.2f} %{cer} on {counted(result['words'], 'word')}, engine "
        f"{result['engine']}; {usage.describe()}"
    )


def _stopped(out: Path) -> typer.Exit:
    typer.echo(f"stopped; the same command resumes the run in {out}", err=True)
    return typer.Exit(130)


def _summarise(console: object, final: dict[str, object], last: object) -> None:
    from rich.console import Console

    from fedvoice.protocol.cost import human_bytes
    from fedvoice.reporting.results import RoundResult

    assert isinstance(console, Console)
    for prefix, label in (("", "own test speech"), ("heldout_", "held-out speakers")):
        for name in ("wer", "cer"):
            key = f"{prefix}{name}"
            if isinstance(final.get(key), float):
                start = final.get(f"initial_{key}")
                before = f" (at the start {start:.1f} %)" if isinstance(start, float) else ""
                console.print(f"{name.upper()}, {label}: [bold]{final[key]:.1f} %[/bold]{before}")
    if isinstance(last, RoundResult):
        communication, compute = last.cfmq_communication_bytes, last.cfmq_compute_bytes
        console.print(
            f"CFMQ: {human_bytes(communication)} communication + {human_bytes(compute)} "
            f"computation (memory x steps) = [bold]{human_bytes(communication + compute)}[/bold]"
        )

"""`fedvoice data`: manifests from corpora on disk, or from synthetic voices."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.models import OptionInfo

from fedvoice.data.readers import READERS
from fedvoice.data.readiness import warnings_of
from fedvoice.protocol.utterances import Utterance, write_manifest

data = typer.Typer(
    name="data",
    add_completion=False,
    help="Make manifests (NeMo style) from corpora on disk, or synthesise a corpus.",
    no_args_is_help=True,
)

Root = Annotated[Path, typer.Option(help="Folder that holds the corpus.", exists=True)]
Out = Annotated[Path, typer.Option(help="Manifest to write (JSON lines).")]


@data.command("synthetic")
def synthetic_command(
    out: Annotated[Path, typer.Option(help="Folder for the audio and manifest.jsonl.")],
    voices: Annotated[int, typer.Option(help="Synthetic speakers.", min=1)] = 50,
    seed: int = 0,
) -> None:
    """The embedded corpus: words spoken by many espeak-ng voices."""
    from rich.progress import Progress

    from fedvoice.data.synthetic import SyntheticCorpusConfig, build_synthetic_corpus

    with Progress() as progress:
        bar = progress.add_task("voices", total=voices)
        manifest = build_synthetic_corpus(
            out,
            SyntheticCorpusConfig(voices=voices, seed=seed),
            lambda done, total: progress.update(bar, completed=done, total=total),
        )
    typer.echo(f"wrote {manifest}")


@data.command("check")
def check_command(
    manifest: Annotated[Path, typer.Argument(help="The manifest (JSON lines).")],
    task: Annotated[
        Path | None, typer.Option(help="Also say what this task package would leave out.")
    ] = None,
    listen: Annotated[
        bool,
        typer.Option(help="Decode all sound: clipping, silence, samples that are not finite."),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look at a manifest: durations against the files, rates, speakers, spelling, duplicates.

    Exit code 0: clean; 1: something is left out; 2: unusable as it is.
    """
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    from fedvoice.data.check import check_manifest
    from fedvoice.data.check_table import print_report
    from fedvoice.protocol.task import load_package

    wanted = load_package(task).manifest if task is not None else None
    columns = (TextColumn("{task.completed} utterances looked at"), TimeElapsedColumn())
    errors = Console(stderr=True)
    quiet = not errors.is_terminal
    with Progress(*columns, console=errors, transient=True, disable=quiet) as progress:
        bar = progress.add_task("check", total=None)
        report = check_manifest(
            manifest,
            wanted,
            listen=listen,
            progress=lambda done: None if done % 100 else progress.update(bar, completed=done),
        )
    if as_json:
        typer.echo(json.dumps(report.as_dict(), ensure_ascii=False))
    else:
        print_report(report, Console())
    raise typer.Exit(report.exit_code)


def command_of(reader: Callable[..., list[Utterance]]) -> Callable[..., None]:
    """A command that writes a reader's utterances as a manifest. Arguments annotated with a
    `typer.Option` are its options; lists of texts are separated by commas."""
    hints = get_type_hints(reader, include_extras=True)
    parameters, lists = [], set()
    for own in signature(reader).parameters.values():
        hint = hints.get(own.name)
        base, *metadata = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if not any(isinstance(part, OptionInfo) for part in metadata):
            continue
        default = own.default
        if base == Sequence[str]:
            lists.add(own.name)
            hint, default = Annotated[str, metadata[0]], ",".join(default)
        parameters.append(
            Parameter(own.name, Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        )

    def command(*, root: Path, out: Path, **given: Any) -> None:
        for name in lists:
            given[name] = [part for part in given[name].split(",") if part]
        _write(out, reader(root, **given))

    given = [
        Parameter(name, Parameter.KEYWORD_ONLY, annotation=hint)
        for name, hint in (("root", Root), ("out", Out))
    ]
    command.__signature__ = Signature([*given, *parameters])  # type: ignore[attr-defined]
    command.__annotations__ = {own.name: own.annotation for own in (*given, *parameters)}
    command.__doc__ = (reader.__doc__ or "").partition("\n\n")[0]
    return command


for _name in READERS.names():
    data.command(_name)(command_of(READERS.get(_name)))


def _write(out: Path, utterances: list[Utterance]) -> None:
    write_manifest(out, utterances)
    speakers = len({u.speaker for u in utterances})
    minutes = sum(u.duration_secs for u in utterances) / 60
    test = [u for u in utterances if u.split == "test"]
    train = [u for u in utterances if u.split != "test"]
    typer.echo(
        f"wrote {out}: {len(utterances)} utterances ({len(train)} for training, {len(test)} for "
        f"testing), {speakers} speaker{'' if speakers == 1 else 's'}, {minutes:.1f} minutes"
    )
    for warning in warnings_of(train, test):
        typer.echo(f"warning: {warning}", err=True)

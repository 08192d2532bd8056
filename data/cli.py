"""`fedvoice data`: manifests from corpora on disk, or from synthetic voices."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature, cleandoc, signature
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.models import OptionInfo

from fedvoice.data.readers import READERS
from fedvoice.data.readiness import warnings_of
from fedvoice.data.resampling import folder_beside, resampled_copies
from fedvoice.protocol.usage import Usage
from fedvoice.protocol.utterances import Utterance, write_manifest

data = typer.Typer(
    name="data",
    add_completion=False,
    help="Make manifests (NeMo style) from corpora on disk, or synthesise a corpus.",
    no_args_is_help=True,
)

Root = Annotated[Path, typer.Option(help="Folder that holds the corpus.", exists=True)]
Out = Annotated[Path, typer.Option(help="Manifest to write (JSON lines).")]
Resample = Annotated[
    int | None,
    typer.Option(
        help="Also write flac copies at this rate (Hz) beside the manifest, which names them.",
        min=1000,
        max=384000,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


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
    as_json: AsJson = False,
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
    `typer.Option` are its options; lists of texts are separated by commas. A reader that takes a
    `usage` counts there what it passes over."""
    hints = get_type_hints(reader, include_extras=True)
    accepted = signature(reader).parameters
    parameters, lists = [], set()
    for own in accepted.values():
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

    def command(
        *, root: Path, out: Path, resample: int | None, as_json: bool, **given: Any
    ) -> None:
        for name in lists:
            given[name] = [part for part in given[name].split(",") if part]
        usage = Usage()
        if "usage" in accepted:
            given["usage"] = usage
        utterances = reader(root, **given)
        if resample:
            utterances = resampled_copies(utterances, resample, folder_beside(out, resample), usage)
        usage.used = len(utterances)
        _write(out, utterances, usage, as_json)

    own_options = [
        Parameter(name, Parameter.KEYWORD_ONLY, annotation=hint, default=default)
        for name, hint, default in (
            ("root", Root, Parameter.empty),
            ("out", Out, Parameter.empty),
            ("resample", Resample, None),
            ("as_json", AsJson, False),
        )
    ]
    every = [*own_options, *parameters]
    command.__signature__ = Signature(every)  # type: ignore[attr-defined]
    command.__annotations__ = {own.name: own.annotation for own in every}
    command.__doc__ = _help_of(reader)
    return command


def _help_of(reader: Callable[..., object]) -> str:
    """A reader's docstring up to its arguments, a line a paragraph; examples as they stand."""
    told = []
    for paragraph in cleandoc(reader.__doc__ or "").split("\n\n"):
        if paragraph.startswith(("Args:", "Raises:", "Returns:")):
            break
        example = paragraph.startswith("Example:")
        told.append(paragraph if example else paragraph.replace("\n", " "))
    return "\n\n".join(told)


for _name in READERS.names():
    data.command(_name)(command_of(READERS.get(_name)))


def _write(out: Path, utterances: list[Utterance], usage: Usage, as_json: bool) -> None:
    write_manifest(out, utterances)
    speakers = len({u.speaker for u in utterances})
    seconds = sum(u.duration_secs for u in utterances)
    test = [u for u in utterances if u.split == "test"]
    train = [u for u in utterances if u.split != "test"]
    warnings = warnings_of(train, test)
    if as_json:
        facts = {
            "manifest": str(out),
            **usage.as_dict(),
            "train": len(train),
            "test": len(test),
            "speakers": speakers,
            "seconds": round(seconds, 3),
            "warnings": warnings,
        }
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    typer.echo(
        f"wrote {out}: {len(utterances)} utterances ({len(train)} for training, {len(test)} for "
        f"testing), {speakers} speaker{'' if speakers == 1 else 's'}, {seconds / 60:.1f} minutes"
    )
    typer.echo(usage.describe())
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)

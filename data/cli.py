"""`fedvoice data`: manifests from corpora on disk, or from synthetic voices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedvoice.protocol.utterances import (
    Utterance,
    write_manifest,
)

data = typer.Typer(
    name="data",
    add_completion=False,
    help="Make manifests (NeMo style) from corpora on disk, or synthesise a corpus.",
    no_args_is_help=True,
)

Root = Annotated[Path, typer.Option(help="Folder that holds the corpus.", exists=True)]
Out = Annotated[Path, typer.Option(help="Manifest to write (JSON lines).")]
TestFraction = Annotated[
    float,
    typer.Option(help="Share of each speaker's utterances kept for evaluation.", min=0, max=1),
]


@data.command("librispeech")
def librispeech_command(
    root: Root,
    out: Out,
    subset: Annotated[str, typer.Option(help="e.g. train-clean-100")] = "train-clean-100",
    test_fraction: TestFraction = 0.1,
    max_secs: Annotated[float, typer.Option(help="Leave longer utterances out; 0: keep.")] = 0.0,
) -> None:
    """LibriSpeech by speaker; ROOT contains LibriSpeech/<subset>/."""
    from fedvoice.data.loaders import librispeech

    _write(out, librispeech(root, subset, test_fraction=test_fraction, max_secs=max_secs))


@data.command("speech-commands")
def speech_commands_command(
    root: Root,
    out: Out,
    words: Annotated[str, typer.Option(help="Comma-separated words to keep; empty: all.")] = "",
) -> None:
    """Speech Commands by speaker; ROOT contains SpeechCommands/speech_commands_v0.02/."""
    from fedvoice.data.loaders import speech_commands

    _write(out, speech_commands(root, words=[w for w in words.split(",") if w]))


@data.command("folder")
def folder_command(root: Root, out: Out, test_fraction: TestFraction = 0.1) -> None:
    """A folder of audio: ROOT/<speaker>/<name>.wav with the words in <name>.txt beside it."""
    from fedvoice.data.loaders import folder

    _write(out, folder(root, test_fraction=test_fraction))


@data.command("synthetic")
def synthetic_command(
    out: Annotated[Path, typer.Option(help="Folder for the audio and manifest.jsonl.")],
    voices: Annotated[int, typer.Option(help="Synthetic speakers.", min=1)] = 50,
    seed: int = 0,
) -> None:
    """The embedded corpus: words spoken by many espeak-ng voices."""
    from rich.progress import Progress

    from fedvoice.data.synthetic import (
        SyntheticCorpusConfig,
        build_synthetic_corpus,
    )

    with Progress() as progress:
        bar = progress.add_task("voices", total=voices)
        manifest = build_synthetic_corpus(
            out,
            SyntheticCorpusConfig(voices=voices, seed=seed),
            lambda done, total: progress.update(bar, completed=done, total=total),
        )
    typer.echo(f"wrote {manifest}")


def _write(out: Path, utterances: list[Utterance]) -> None:
    write_manifest(out, utterances)
    speakers = len({u.speaker for u in utterances})
    minutes = sum(u.duration_secs for u in utterances) / 60
    typer.echo(
        f"wrote {out}: {len(utterances)} utterances, {speakers} speakers, {minutes:.1f} minutes"
    )

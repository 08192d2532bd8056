"""Manifests from corpora on disk: LibriSpeech, Speech Commands, or a folder of audio.

Nothing is downloaded: the user points at a directory. Test utterances are drawn within each speaker
(`data.splits`), so that every client keeps some of its own speech for evaluation.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fedvoice.data.audio import read_facts
from fedvoice.data.splits import drawn_split
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import read_text
from fedvoice.protocol.text import fold_white_space
from fedvoice.protocol.utterances import Utterance

AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".webm"),
    *(".3gp", ".amr", ".aif", ".aiff", ".au", ".caf", ".wma"),
)
_BESIDE_AUDIO = (".txt", ".md", ".json", ".jsonl", ".csv", ".tsv", ".toml")
_log = logging.getLogger("fedvoice.data")
TestFraction = Annotated[
    float,
    typer.Option(help="Share of each speaker's utterances kept for evaluation.", min=0, max=1),
]
Seed = Annotated[int, typer.Option(help="Seed of the draw of the test utterances.")]


def librispeech(
    root: Path,
    subset: Annotated[str, typer.Option(help="e.g. train-clean-100")] = "train-clean-100",
    *,
    test_fraction: TestFraction = 0.1,
    max_secs: Annotated[float, typer.Option(help="Leave longer utterances out; 0: keep.")] = 0.0,
    seed: Seed = 0,
) -> list[Utterance]:
    """LibriSpeech by speaker; ROOT contains LibriSpeech/<subset>/.

    Args:
        root: folder that contains `LibriSpeech/`; read through torchaudio's dataset.
        subset: e.g. `train-clean-100`.
        test_fraction: share of each speaker's utterances kept for evaluation.
        max_secs: leave longer utterances out; 0 keeps all.
        seed: of the draw (`splits.drawn_split`).
    """
    from torchaudio.datasets import LIBRISPEECH

    try:
        dataset = LIBRISPEECH(root, url=subset, download=False)
    except (RuntimeError, ValueError) as error:
        raise _not_a_corpus(root, "LibriSpeech", f"{root}/LibriSpeech/{subset}", error) from error
    archive = root / "LibriSpeech"

    def found() -> Iterator[Utterance]:
        for index in range(len(dataset)):
            path, _, text, speaker, *_ = dataset.get_metadata(index)
            yield _utterance(archive / path, text, str(speaker), "librispeech")

    return drawn_split(_shorter(found(), max_secs), test_fraction, seed)


def speech_commands(
    root: Path,
    *,
    words: Annotated[
        Sequence[str], typer.Option(help="Comma-separated words to keep; empty: all.")
    ] = (),
    version: str = "speech_commands_v0.02",
) -> list[Utterance]:
    """Speech Commands by speaker; ROOT contains SpeechCommands/speech_commands_v0.02/.

    A speaker is the hash in a file's name; the test split is the corpus's own testing list.

    Args:
        root: folder that contains `SpeechCommands/<version>/`.
        words: keep only these; empty keeps all.
    """
    from torchaudio.datasets import SPEECHCOMMANDS

    found = []
    for subset, split in (("training", "train"), ("testing", "test")):
        try:
            dataset = SPEECHCOMMANDS(root, url=version, subset=subset, download=False)
        except (RuntimeError, OSError) as error:
            raise _not_a_corpus(
                root, "Speech Commands", f"{root}/SpeechCommands/{version}", error
            ) from error
        for index in range(len(dataset)):
            path, _, word, speaker, _ = dataset.get_metadata(index)
            if not words or word in words:
                utterance = _utterance(
                    root / "SpeechCommands" / path, word, speaker, "speech-commands"
                )
                found.append(replace(utterance, split=split))
    return found


def folder(root: Path, *, test_fraction: TestFraction = 0.1, seed: Seed = 0) -> list[Utterance]:
    """A folder of audio: ROOT/<speaker>/<name>.wav with the words in <name>.txt beside it.

    `root/<speaker>/**/<name>.<wav|flac|ogg|opus|mp3|m4a|webm|...>`; transcripts stay as they are
    written, a task's text rule makes words of them. Hidden files (`._x`, `.DS_Store`) are passed
    over; other files are said.

    Raises:
        FedvoiceError: `empty-transcript` or `not-found` naming the audio without a transcript.
    """
    files = sorted(p for p in root.glob("*/**/*") if not _hidden(p.relative_to(root)))
    paths = [p for p in files if p.suffix.lower() in AUDIO_SUFFIXES]
    others = [
        p
        for p in files
        if p.suffix.lower() not in (*AUDIO_SUFFIXES, *_BESIDE_AUDIO) and p.is_file()
    ]
    if others:
        _log.warning("%d files are not known as sound (first: %s)", len(others), others[0])
    if not paths:
        raise _not_a_corpus(root, "audio", f"{root}/<speaker>/<name>.wav", "no audio files")

    def found() -> Iterator[Utterance]:
        for path in paths:
            transcript = path.with_suffix(".txt")
            if not transcript.is_file():
                raise FedvoiceError(
                    ErrorCode.NOT_FOUND,
                    where=str(path),
                    got="no transcript",
                    wanted=f"the words spoken, in {transcript.name} beside it",
                    next_step="Write the transcript, or move the recording out of the folder.",
                )
            text = read_text(transcript, wanted="a transcript", next_step="Write it again.")
            yield _utterance(path, text, path.relative_to(root).parts[0], "folder")

    return drawn_split(found(), test_fraction, seed)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _shorter(utterances: Iterable[Utterance], max_secs: float) -> Iterator[Utterance]:
    return (u for u in utterances if not max_secs or u.duration_secs <= max_secs)


def _utterance(path: Path, text: str, speaker: str, source: str) -> Utterance:
    text = fold_white_space(text)
    if not text:
        raise FedvoiceError(
            ErrorCode.EMPTY_TRANSCRIPT,
            where=str(path),
            got="an empty transcript",
            wanted="the words spoken",
            next_step="Transcribe the recording or leave it out.",
        )
    duration_secs = read_facts(path, str(path)).duration_secs
    return Utterance(
        audio_path=path.absolute(),
        text=text,
        duration_secs=round(duration_secs, 4),
        speaker=speaker,
        source=source,
    )


def _not_a_corpus(root: Path, name: str, layout: str, error: object) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.NOT_FOUND,
        where=str(root),
        got=str(error),
        wanted=f"{name} at {layout}",
        next_step="Point at the folder that holds the corpus; fedvoice downloads none itself.",
    )

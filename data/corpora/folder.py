"""A folder of one's own recordings, each with its words in a text file beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from fedvoice.data.audio import read_facts
from fedvoice.data.corpora.reading import (
    AUDIO_SUFFIXES,
    Seed,
    TestFraction,
    hidden,
    no_corpus,
    spoken,
)
from fedvoice.data.splits import drawn_split
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import read_text
from fedvoice.protocol.utterance import Utterance

_BESIDE_AUDIO = (".txt", ".md", ".json", ".jsonl", ".csv", ".tsv", ".toml")
_log = logging.getLogger("fedvoice.data")


def folder(root: Path, *, test_fraction: TestFraction = 0.1, seed: Seed = 0) -> list[Utterance]:
    """A folder of audio: ROOT/<speaker>/<name>.wav with the words in <name>.txt beside it.

    wav, flac, ogg, opus, mp3, m4a, webm and others, in any folder below <speaker>. Transcripts stay
    as they are written; a task's text rule makes words of them. Hidden files (`._x`, `.DS_Store`)
    are passed over; other files are said. A recording without words stops the command.

    Example:
    fedvoice data folder --root my-speech --out my-speech/manifest.jsonl

    Raises:
        FedvoiceError: `empty-transcript` or `not-found` naming the audio without a transcript;
            `unreadable-audio`, `missing-extra`.
    """
    files = sorted(p for p in root.glob("*/**/*") if not hidden(p.relative_to(root)))
    paths = [p for p in files if p.suffix.lower() in AUDIO_SUFFIXES]
    others = [
        p
        for p in files
        if p.suffix.lower() not in (*AUDIO_SUFFIXES, *_BESIDE_AUDIO) and p.is_file()
    ]
    if others:
        _log.warning("%d files are not known as sound (first: %s)", len(others), others[0])
    if not paths:
        raise no_corpus(root, "audio", f"{root}/<speaker>/<name>.wav", "no audio files")

    def found() -> Iterator[Utterance]:
        for path in paths:
            yield _utterance(path, path.relative_to(root).parts[0])

    return drawn_split(found(), test_fraction, seed)


def _utterance(path: Path, speaker: str) -> Utterance:
    """A recording with the words beside it."""
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
    if not text.strip():
        raise FedvoiceError(
            ErrorCode.EMPTY_TRANSCRIPT,
            where=str(path),
            got="an empty transcript",
            wanted="the words spoken",
            next_step="Transcribe the recording or leave it out.",
        )
    secs = round(read_facts(path, str(path)).duration_secs, 4)
    return spoken(path.absolute(), text, speaker, "folder", secs=secs)

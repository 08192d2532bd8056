"""A folder of one's own recordings, each with its words in a text file beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from fedvoice.data.corpora.reading import (
    AUDIO_SUFFIXES,
    MaxSecs,
    Seed,
    TestFraction,
    hidden,
    no_corpus,
    spoken,
    usable,
    with_split,
)
from fedvoice.protocol.files import read_text
from fedvoice.protocol.usage import Usage
from fedvoice.protocol.utterance import Utterance

_BESIDE_AUDIO = (".txt", ".md", ".json", ".jsonl", ".csv", ".tsv", ".toml")
_log = logging.getLogger("fedvoice.data")


def folder(
    root: Path,
    *,
    max_secs: MaxSecs = 0.0,
    test_fraction: TestFraction = 0.1,
    seed: Seed = 0,
    usage: Usage | None = None,
) -> list[Utterance]:
    """A folder of audio: ROOT/<speaker>/<name>.wav with the words in <name>.txt beside it.

    wav, flac, ogg, opus, mp3, m4a, webm and others, in any folder below <speaker>. Transcripts stay
    as they are written; a task's text rule makes words of them. Hidden files (`._x`, `.DS_Store`)
    are passed over; other files are said; recordings without words or that nobody can read are
    counted.

    Example:
    fedvoice data folder --root my-speech --out my-speech/manifest.jsonl

    Args:
        root: folder of one folder a speaker.
        usage: receives the counts of what is passed over.

    Raises:
        FedvoiceError: `not-found`, `too-little-usable`; `bad-manifest` for a transcript that is not
            UTF-8; `missing-extra`.
    """
    usage = Usage() if usage is None else usage
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

    return with_split(usable(found(), usage, max_secs), False, test_fraction, seed)


def _utterance(path: Path, speaker: str) -> Utterance:
    """A recording with the words beside it, if there are any."""
    beside = path.with_suffix(".txt")
    text = ""
    if beside.is_file():
        text = read_text(beside, wanted="a transcript", next_step="Write it again.")
    return spoken(path.absolute(), text, speaker, "folder")

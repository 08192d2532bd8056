"""Kaldi data directories: wav.scp, segments, text, utt2spk (https://kaldi-asr.org/doc/data_prep.html).

Nothing is run: a pipe in wav.scp is refused by name. Paths are relative to the folder in which the
recipe ran, which no file names: of the data directory and the folders above it, the nearest one
from which a recording is found is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from fedvoice.data.corpora.reading import (
    UNKNOWN_SECS,
    Line,
    MaxSecs,
    Seed,
    TestFraction,
    bad_line,
    base_of,
    keyed_lines,
    no_corpus,
    spoken,
    usable,
    with_split,
)
from fedvoice.protocol.usage import Reason, Usage
from fedvoice.protocol.utterance import Utterance

_ARCHIVE = re.compile(r":\d+(\[.*\])?$")
_CORRECT = "Correct the line, for instance by utils/fix_data_dir.sh."


@dataclass(frozen=True)
class _Part:
    """An utterance: a recording, and the seconds of it; end None: to the recording's."""

    recording: str
    begin: float | None
    end: float | None
    listed_in: str
    line: int


def kaldi(
    root: Path,
    *,
    train_set: Annotated[
        str, typer.Option(help="Folder of the training utterances, if ROOT has no wav.scp.")
    ] = "train",
    test_set: Annotated[str, typer.Option(help="The same for testing; none: drawn.")] = "test",
    max_secs: MaxSecs = 0.0,
    test_fraction: TestFraction = 0.1,
    seed: Seed = 0,
    usage: Usage | None = None,
) -> list[Utterance]:
    """A Kaldi data directory by speaker (utt2spk); ROOT, or ROOT/train and ROOT/test, have wav.scp.

    wav.scp, text and utt2spk are needed; segments, reco2dur and utt2dur are used if they are there.
    Pipes (`sox ... |`) and archives (`x.ark:42`) are refused: write the recordings to files first.
    Utterances without a transcript, and transcripts without a recording, are counted.

    Example:
    fedvoice data kaldi --root egs/mini_librispeech/s5/data/train --out manifest.jsonl

    Args:
        root: a data directory, or a folder of some.
        usage: receives the counts of what is passed over.

    Raises:
        FedvoiceError: `not-found`, `bad-manifest`, `too-little-usable`, `missing-extra`.
    """
    usage = Usage() if usage is None else usage
    if (root / "wav.scp").is_file():
        return with_split(usable(_read(root, usage), usage, max_secs), False, test_fraction, seed)
    train, test = root / train_set, root / test_set
    if not (train / "wav.scp").is_file():
        raise no_corpus(root, "a Kaldi data directory", f"{root}/wav.scp", f"no {train}/wav.scp")
    brings_one = (test / "wav.scp").is_file()

    def found() -> Iterator[Utterance]:
        yield from _read(train, usage)
        if brings_one:
            for utterance in _read(test, usage):
                yield replace(utterance, split="test")

    return with_split(usable(found(), usage, max_secs), brings_one, test_fraction, seed)


def _read(folder: Path, usage: Usage) -> Iterator[Utterance]:
    """The utterances of one data directory, in the order of its text."""
    recordings = _recordings(folder / "wav.scp")
    base = base_of(folder, recordings.values())
    files = {key: str(base / path) for key, path in recordings.items()}
    parts = _parts(folder, recordings)
    speakers = _mapping(folder / "utt2spk", "a speaker an utterance")
    name = str(folder / "text")
    of_recordings, of_utterances = _seconds(folder / "reco2dur"), _seconds(folder / "utt2dur")
    said = set()
    for line in keyed_lines(folder / "text", "transcripts"):
        key, text, number = line
        said.add(key)
        if key not in parts:
            usage.leave_out(Reason.MISSING_AUDIO, f"{name}:{number}")
            continue
        if key not in speakers:
            got = f"{key} without a speaker"
            raise bad_line(f"{name}:{number}", got, "a line of it in utt2spk", _CORRECT)
        part = parts[key]
        yield spoken(
            files[part.recording],
            text,
            speakers[key],
            "kaldi",
            secs=_length(key, part, of_recordings, of_utterances),
            offset_secs=part.begin,
            listed_in=name,
            line=number,
        )
    for key, part in parts.items():
        if key not in said:
            usage.leave_out(Reason.EMPTY_TRANSCRIPT, f"{part.listed_in}:{part.line}")


def _recordings(path: Path) -> dict[str, str]:
    """Files by recording.

    Raises:
        FedvoiceError: `bad-manifest` for what is no file.
    """
    found = {}
    for key, value, number in keyed_lines(path, "a file a recording"):
        source = value.strip()
        if source.endswith("|") or source.startswith("|"):
            got, wanted = f"a pipe: {source[:80]}", "a sound file; no command is run"
            step = f"Run it: {source.rstrip('|').strip()[:80]} > {key}.wav; and name that file."
            raise bad_line(f"{path}:{number}", got, wanted, step)
        if source in ("", "-") or _ARCHIVE.search(source):
            got = f"an archive: {source[:80]}" if len(source) > 1 else "no file"
            step = "Write the recordings to files, for instance by wav-copy."
            raise bad_line(f"{path}:{number}", got, "a sound file", step)
        found[key] = source
    return found


def _parts(folder: Path, recordings: dict[str, str]) -> dict[str, _Part]:
    """What of which recording each utterance is."""
    path = folder / "segments"
    if not path.is_file():
        lines = enumerate(recordings, start=1)
        return {key: _Part(key, None, None, str(folder / "wav.scp"), n) for n, key in lines}
    found = {}
    for line in keyed_lines(path, "segments"):
        found[line.key] = _segment(line, str(path))
        if found[line.key].recording not in recordings:
            got = f"a segment of {found[line.key].recording}"
            raise bad_line(f"{path}:{line.number}", got, "a recording of wav.scp", _CORRECT)
    return found


def _segment(line: Line, path: str) -> _Part:
    """`utterance recording begin end`; an end of -1 is the recording's."""
    wanted = "utterance, recording, begin and end in seconds"
    fields = line.value.split()
    try:
        recording, begin, end = fields[0], float(fields[1]), float(fields[2])
    except (IndexError, ValueError) as error:
        raise bad_line(f"{path}:{line.number}", line.value[:80], wanted, _CORRECT) from error
    if len(fields) > 3:
        step = "Write the channel to a file of its own: channels are averaged."
        raise bad_line(f"{path}:{line.number}", f"a channel, {fields[3]}", wanted, step)
    if not (begin >= 0 and (end == -1 or begin < end)):
        raise bad_line(f"{path}:{line.number}", f"{begin} to {end} s", wanted, _CORRECT)
    return _Part(recording, begin, None if end == -1 else end, path, line.number)


def _length(
    key: str, part: _Part, of_recordings: dict[str, float], of_utterances: dict[str, float]
) -> float:
    if part.end is not None:
        return round(part.end - (part.begin or 0.0), 4)
    if part.begin is None and key in of_utterances:
        return of_utterances[key]
    whole = of_recordings.get(part.recording)
    return UNKNOWN_SECS if whole is None else round(whole - (part.begin or 0.0), 4)


def _mapping(path: Path, wanted: str) -> dict[str, str]:
    return {key: value.strip() for key, value, _ in keyed_lines(path, wanted)}


def _seconds(path: Path) -> dict[str, float]:
    """Seconds by key; empty if there is no such file."""
    found: dict[str, float] = {}
    if path.is_file():
        for key, value, number in keyed_lines(path, "seconds"):
            try:
                found[key] = float(value)
            except ValueError as error:
                where = f"{path}:{number}"
                raise bad_line(where, value.strip()[:80], "seconds", _CORRECT) from error
    return found

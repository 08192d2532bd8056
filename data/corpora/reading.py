"""What all readers of corpora share: options, lengths, and the count of what is passed over."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from fedvoice.data.audio import read_facts
from fedvoice.data.splits import drawn_split
from fedvoice.protocol.errors import ErrorCode, FedvoiceError, missing_extra
from fedvoice.protocol.files import read_text
from fedvoice.protocol.text import fold_white_space
from fedvoice.protocol.usage import Reason, Usage
from fedvoice.protocol.utterance import Utterance, audio_of, make_utterance
from fedvoice.protocol.utterances import SPLITS

UNKNOWN_SECS = -1.0
"""The length of an utterance before its file is asked."""
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".webm"),
    *(".3gp", ".amr", ".aif", ".aiff", ".au", ".caf", ".wma", ".sph"),
)
_DEVELOPMENT = ("dev", "development", "val", "valid", "validation")
_FOLDERS_TRIED, _PATHS_TRIED = 4, 5
_COUNTED = {reason.value: reason for reason in Reason}


class Development(StrEnum):
    """What a corpus's development part is used for."""

    LEAVE_OUT = "leave-out"
    TRAIN = "train"
    TEST = "test"


TestFraction = Annotated[
    float,
    typer.Option(help="Share of each speaker's utterances kept for evaluation.", min=0, max=1),
]
Seed = Annotated[int, typer.Option(help="Seed of the draw of the test utterances.")]
MaxSecs = Annotated[float, typer.Option(help="Leave longer utterances out; 0: keep.", min=0)]
Dev = Annotated[Development, typer.Option(help="What the development part is used for.")]


class Line(NamedTuple):
    """A line of a text file: its key, and what follows behind white space."""

    key: str
    value: str
    number: int


def spoken(
    audio: Path | str,
    text: str,
    speaker: str,
    source: str,
    *,
    secs: float = UNKNOWN_SECS,
    split: str = "train",
    offset_secs: float | None = None,
    listed_in: str = "",
    line: int = 0,
) -> Utterance:
    """An utterance as a corpus lists it.

    Args:
        audio: absolute. secs: `UNKNOWN_SECS` if only the file tells.
        listed_in, line: the file that lists it, named where it is passed over.
    """
    words = fold_white_space(text)
    return make_utterance(
        str(audio), words, secs, speaker, split, source, "", offset_secs, listed_in, line
    )


def usable(utterances: Iterable[Utterance], usage: Usage, max_secs: float = 0) -> list[Utterance]:
    """The utterances that have words, a file and a length, in the given order; the others are
    counted.

    Args:
        usage: receives the counts. max_secs: longer ones are `not-chosen`; 0 keeps all.

    Raises:
        FedvoiceError: `missing-extra` if a decoder is not installed; `too-little-usable` if
            nothing is left.
    """
    files = _Files()
    there: list[Utterance] = []
    for utterance in utterances:
        if not utterance.text:
            usage.leave_out(Reason.EMPTY_TRANSCRIPT, utterance.where)
        elif not files.has(audio_of(utterance)):
            usage.leave_out(Reason.MISSING_AUDIO, f"{utterance.where}: {audio_of(utterance)}")
        else:
            there.append(utterance)
    found = []
    for utterance in _measured(there, usage):
        if max_secs and utterance.duration_secs > max_secs:
            usage.leave_out(Reason.NOT_CHOSEN, utterance.where)
        elif utterance.duration_secs <= 0:
            usage.leave_out(Reason.TOO_SHORT, utterance.where)
        else:
            found.append(utterance)
    if not found:
        raise FedvoiceError(
            ErrorCode.TOO_LITTLE_USABLE,
            where="the corpus",
            got=usage.describe(),
            wanted="utterances with words and sound",
            next_step="Put the files named back, or choose other options.",
        )
    usage.used += len(found)
    return found


def with_split(
    utterances: list[Utterance], brings_one: bool, test_fraction: float, seed: int
) -> list[Utterance]:
    """The utterances as the corpus splits them, or with test utterances drawn; none are drawn for a
    fraction of 0."""
    if brings_one or not test_fraction:
        return utterances
    return drawn_split(utterances, test_fraction, seed)


def split_of(part: str, dev: Development) -> str | None:
    """The split that `train`, `test` or a development part is used as; None: left out."""
    if part in ("train", "test"):
        return part
    return None if dev is Development.LEAVE_OUT else dev.value


def keyed_lines(path: Path, wanted: str) -> Iterator[Line]:
    """The lines of a text file "key value...", blank ones left out.

    Args:
        wanted: what sort of file, for a person.

    Raises:
        FedvoiceError: `not-found`; `bad-manifest` for bytes that are not UTF-8.
    """
    text = read_text(path, wanted=wanted, next_step="Check that the corpus was unpacked whole.")
    # Not splitlines: U+2028 and its like are text.
    for number, line in enumerate(text.split("\n"), start=1):
        parts = line.split(None, 1)
        if parts:
            yield Line(parts[0], parts[1] if len(parts) > 1 else "", number)


def sound_in(folder: Path, name: str, suffixes: Iterable[str] = AUDIO_SUFFIXES) -> Path:
    """`folder/name.<suffix>`: the first that is there, else with the first suffix."""
    tried = [folder / f"{name}{suffix}" for suffix in suffixes]
    return next((path for path in tried if path.is_file()), tried[0])


def hidden(path: Path) -> bool:
    """Whether it is a file of another system: `._x`, `.DS_Store`."""
    return any(part.startswith(".") for part in path.parts)


def part_of(name: str) -> str | None:
    """`train`, `dev` or `test` by a word of a part's name (`test.clean`, `cv_cuts_cy_dev`); None if
    it has none."""
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word in SPLITS]
    if not words:
        return None
    return words[0] if words[0] in _DEVELOPMENT else SPLITS[words[0]]


def base_of(folder: Path, paths: Iterable[str]) -> Path:
    """The folder that relative paths begin at: the nearest one, from `folder` upwards, from which
    one of the first of them is found."""
    here = folder.absolute()
    first = list(islice(paths, _PATHS_TRIED))
    for above in [here, *here.parents][:_FOLDERS_TRIED]:
        if any((above / path).is_file() for path in first):
            return above
    return here


def missing_package(name: str, error: ImportError) -> FedvoiceError:
    """The error of a reader whose library is not installed."""
    return missing_extra(
        "corpora",
        where=f"the reader that uses {name}",
        got=str(error),
        wanted=name,
    )


def no_corpus(root: Path, name: str, layout: str, got: object) -> FedvoiceError:
    """The error of a folder that is not the corpus asked for."""
    return FedvoiceError(
        ErrorCode.NOT_FOUND,
        where=str(root),
        got=str(got),
        wanted=f"{name} at {layout}",
        next_step="Point at the folder that holds the corpus; fedvoice downloads none itself.",
    )


def bad_line(where: str, got: str, wanted: str, next_step: str) -> FedvoiceError:
    """The error of a line that cannot be read as it stands."""
    return FedvoiceError(
        ErrorCode.BAD_MANIFEST, where=where, got=got, wanted=wanted, next_step=next_step
    )


class _Files:
    """Which files are there: each folder is listed once, which is faster than to ask for each."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}

    def has(self, path: str) -> bool:
        folder, _, name = path.rpartition(os.sep)
        if folder not in self._names:
            try:
                with os.scandir(folder or os.sep) as entries:
                    self._names[folder] = {entry.name for entry in entries if entry.is_file()}
            except OSError:
                self._names[folder] = set()
        # A reader may have written it since the folder was listed.
        return name in self._names[folder] or os.path.isfile(path)


def _measured(utterances: list[Utterance], usage: Usage) -> Iterator[Utterance]:
    """The utterances with the lengths that their files have; unreadable ones are counted."""
    unknown = [u for u in utterances if u.duration_secs == UNKNOWN_SECS]
    if not unknown:
        yield from utterances
        return
    lengths = _lengths(sorted({audio_of(u) for u in unknown}))
    for utterance in utterances:
        if utterance.duration_secs != UNKNOWN_SECS:
            yield utterance
            continue
        secs = lengths[audio_of(utterance)]
        if isinstance(secs, FedvoiceError):
            usage.leave_out(_COUNTED[secs.code.value], secs.where)
        else:
            begin = utterance.offset_secs or 0.0
            yield replace(utterance, duration_secs=round(secs - begin, 4))


def _lengths(paths: list[str]) -> dict[str, float | FedvoiceError]:
    """Seconds of each file, or why it cannot be read. Some are decoded for that, on all cores."""
    from rich.console import Console
    from rich.progress import track

    def length(path: str) -> float | FedvoiceError:
        try:
            return read_facts(Path(path), path).duration_secs
        except FedvoiceError as error:
            if error.code.value not in _COUNTED:
                raise
            return error

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = track(
            threads.map(length, paths),
            description="lengths of recordings",
            total=len(paths),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        return dict(zip(paths, found, strict=True))

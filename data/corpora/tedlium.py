"""TED-LIUM, releases 1 to 3 (openslr.org/7, 19, 51): talks in long recordings, cut by STM files.

Layout: `<train|dev|test>/{stm,sph}` (release 3: below `legacy/`). A line of an STM file is
`talk channel speaker begin end <labels> words`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fedvoice.data.corpora.reading import (
    Dev,
    Development,
    Line,
    MaxSecs,
    bad_line,
    keyed_lines,
    no_corpus,
    sound_in,
    split_of,
    spoken,
    usable,
)
from fedvoice.protocol.usage import Reason, Usage
from fedvoice.protocol.utterance import Utterance

_PARTS = ("train", "dev", "test")
_IGNORED = "ignore_time_segment_in_scoring"
_SUFFIXES = (".sph", ".wav", ".flac")
_APART = re.compile(r"(?<=\w) '(?=\w)")
_PRONUNCIATION = re.compile(r"(?<=\w)\(\d+\)")


def tedlium(
    root: Path,
    *,
    dev: Dev = Development.LEAVE_OUT,
    max_secs: MaxSecs = 0.0,
    usage: Usage | None = None,
) -> list[Utterance]:
    """TED-LIUM by speaker; ROOT is TEDLIUM_release1, 2 or 3.

    Utterances are segments of the talks (sph, wav or flac). `it 's` becomes `it's`, and the number
    of a pronunciation, `a(2)`, is dropped; `<unk>` and `{NOISE}` stay, and a task's text rule says
    what becomes of them. Segments to be ignored in scoring are counted as not-chosen.

    Example:
    fedvoice data tedlium --root TEDLIUM_release-3 --out manifest.jsonl

    Args:
        root: holds `train/`, `dev/` and `test/`, or `legacy/` with these.
        usage: receives the counts of what is passed over.

    Raises:
        FedvoiceError: `not-found`, `bad-manifest`, `too-little-usable`.
    """
    usage = Usage() if usage is None else usage
    folders = (root, root / "legacy")
    top = next((f for f in folders if any(f.glob("*/stm/*.stm"))), None)
    if top is None:
        raise no_corpus(root, "TED-LIUM", f"{root}/train/stm/*.stm", "no stm files")

    def found() -> Iterator[Utterance]:
        for part in _PARTS:
            split = split_of(part, dev)
            for stm in sorted((top / part / "stm").glob("[!.]*.stm")):
                for utterance in _talk(stm, split or "", usage):
                    if split is None:
                        usage.leave_out(Reason.NOT_CHOSEN, utterance.where)
                    else:
                        yield utterance

    return usable(found(), usage, max_secs)


def _talk(stm: Path, split: str, usage: Usage) -> Iterator[Utterance]:
    """The utterances of one STM file."""
    folder, name = stm.parents[1].absolute(), str(stm)
    sounds: dict[str, Path] = {}
    for line in keyed_lines(stm, "segments of a talk"):
        if line.key.startswith(";;"):
            continue
        speaker, begin, end, text = _fields(line, name)
        if text == _IGNORED:
            usage.leave_out(Reason.NOT_CHOSEN, f"{name}:{line.number}")
            continue
        if line.key not in sounds:
            found = [sound_in(folder / kind, line.key, _SUFFIXES) for kind in ("sph", "wav")]
            sounds[line.key] = next((path for path in found if path.is_file()), found[0])
        yield spoken(
            sounds[line.key],
            _PRONUNCIATION.sub("", _APART.sub("'", text)),
            speaker,
            "tedlium",
            secs=round(end - begin, 4),
            split=split,
            offset_secs=begin,
            listed_in=name,
            line=line.number,
        )


def _fields(line: Line, name: str) -> tuple[str, float, float, str]:
    """Speaker, begin and end in seconds, and text."""
    fields = line.value.split(None, 4)
    try:
        _, speaker, begin, end = fields[:4]
        times = float(begin), float(end)
        if not 0 <= times[0] < times[1]:
            raise ValueError(line.value)
    except ValueError as error:
        wanted = "talk, channel, speaker, begin, end, words"
        step = "Correct the line, or unpack the corpus again."
        raise bad_line(f"{name}:{line.number}", line.value[:80], wanted, step) from error
    rest = fields[4].strip() if len(fields) > 4 else ""
    if rest.startswith("<") and not rest.startswith("<unk>"):
        rest = rest.partition(">")[2].strip()
    return speaker, *times, rest

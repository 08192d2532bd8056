"""LibriSpeech, and Multilingual LibriSpeech: read books, by speaker.

Layouts: openslr.org/12, `LibriSpeech/<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<n>.flac`
with `<speaker>-<chapter>.trans.txt` beside; openslr.org/94,
`mls_<language>/<train|dev|test>/audio/<speaker>/<book>/<speaker>_<book>_<n>.flac` (or `.opus`) with
one `transcripts.txt` a part.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from fedvoice.data.corpora.reading import (
    Dev,
    Development,
    MaxSecs,
    Seed,
    TestFraction,
    hidden,
    keyed_lines,
    no_corpus,
    sound_in,
    split_of,
    spoken,
    usable,
    with_split,
)
from fedvoice.protocol.usage import Reason, Usage
from fedvoice.protocol.utterance import Utterance

_MLS_PARTS = ("train", "dev", "test")
_log = logging.getLogger("fedvoice.data")


def librispeech(
    root: Path,
    subset: Annotated[str, typer.Option(help="e.g. train-clean-100")] = "train-clean-100",
    *,
    test_fraction: TestFraction = 0.1,
    max_secs: MaxSecs = 0.0,
    seed: Seed = 0,
    usage: Usage | None = None,
) -> list[Utterance]:
    """LibriSpeech by speaker; ROOT contains LibriSpeech/<subset>/.

    Recordings without a line in their chapter's trans.txt are counted; where that file is missing
    it is named.

    Example:
    fedvoice data librispeech --root corpora --subset dev-clean --out manifest.jsonl

    Args:
        root: folder that contains `LibriSpeech/`, or `LibriSpeech/` itself.
        subset: e.g. `train-clean-100`.
        test_fraction: share of each speaker's utterances kept for evaluation.
        max_secs: leave longer utterances out; 0 keeps all.
        seed: of the draw (`splits.drawn_split`).
        usage: receives the counts of what is passed over.

    Raises:
        FedvoiceError: `not-found`, `bad-manifest`, `too-little-usable`.
    """
    usage = Usage() if usage is None else usage
    folder = next((f for f in (root / "LibriSpeech" / subset, root / subset) if f.is_dir()), None)
    if folder is None:
        layout = f"{root}/LibriSpeech/{subset}"
        raise no_corpus(root, "LibriSpeech", layout, f"no folder {subset}")
    chapters = [p for p in folder.glob("*/*") if p.is_dir() and not hidden(p.relative_to(folder))]
    # As their names are sorted: 1272 comes before 84.
    found = sorted(
        (u for chapter in sorted(chapters) for u in _chapter(chapter, usage)),
        key=lambda u: u.audio_path.stem,
    )
    if not found and not usage.left_out:
        raise no_corpus(root, "LibriSpeech", f"{folder}/<speaker>/<chapter>/*.flac", "no chapter")
    return with_split(usable(found, usage, max_secs), False, test_fraction, seed)


def _chapter(folder: Path, usage: Usage) -> Iterator[Utterance]:
    """The utterances of one chapter."""
    speaker, source = folder.parent.name, "librispeech"
    path = folder / f"{speaker}-{folder.name}.trans.txt"
    sounds = {p.stem for p in folder.glob("*.flac") if not p.name.startswith(".")}
    if not path.is_file():
        if sounds:
            where = f"{path} is missing"
            usage.leave_out(Reason.EMPTY_TRANSCRIPT, where, len(sounds))
            _log.warning("%s is missing: %d recordings left out", path, len(sounds))
        return
    said = set()
    for key, text, number in keyed_lines(path, "transcripts"):
        said.add(key)
        audio = (folder / f"{key}.flac").absolute()
        yield spoken(audio, text, speaker, source, listed_in=str(path), line=number)
    for name in sorted(sounds - said):
        usage.leave_out(Reason.EMPTY_TRANSCRIPT, str(folder / f"{name}.flac"))


def mls(
    root: Path,
    *,
    language: Annotated[str, typer.Option(help="e.g. german, if ROOT holds several.")] = "",
    dev: Dev = Development.LEAVE_OUT,
    max_secs: MaxSecs = 0.0,
    usage: Usage | None = None,
) -> list[Utterance]:
    """Multilingual LibriSpeech by speaker; ROOT is mls_<language>, or contains it.

    The corpus's own test part is the test split; its readers train nowhere. flac and opus.

    Example:
    fedvoice data mls --root mls_polish --out manifest.jsonl

    Args:
        root: `mls_<language>/` (also `mls_<language>_opus/`), or the folder above.
        usage: receives the counts of what is passed over.

    Raises:
        FedvoiceError: `not-found`, `bad-manifest`, `too-little-usable`.
    """
    usage = Usage() if usage is None else usage
    folder = _language_folder(root, language)

    def found() -> Iterator[Utterance]:
        for part in _MLS_PARTS:
            if not (folder / part).is_dir():
                continue
            split = split_of(part, dev)
            for utterance in _part(folder / part, split or "", usage):
                if split is None:
                    usage.leave_out(Reason.NOT_CHOSEN, utterance.where)
                else:
                    yield utterance

    return usable(found(), usage, max_secs)


def _language_folder(root: Path, language: str) -> Path:
    if (root / "train" / "transcripts.txt").is_file():
        return root
    found = sorted(root.glob(f"mls_{language or '*'}*/train/transcripts.txt"))
    if len(found) != 1:
        got = ", ".join(p.parents[1].name for p in found) or "no transcripts.txt"
        layout = f"{root}/mls_<language>/train/transcripts.txt; name one by --language"
        raise no_corpus(root, "Multilingual LibriSpeech", layout, got)
    return found[0].parents[1]


def _part(folder: Path, split: str, usage: Usage) -> Iterator[Utterance]:
    """The utterances of train, dev or test."""
    path, audio = folder / "transcripts.txt", (folder / "audio").absolute()
    said = set()
    sounds = {p.stem: p for p in audio.glob("*/*/*") if p.suffix in (".flac", ".opus")}
    for key, text, number in keyed_lines(path, "transcripts"):
        said.add(key)
        speaker, _, rest = key.partition("_")
        book = rest.partition("_")[0]
        sound = sounds.get(key) or sound_in(audio / speaker / book, key, (".flac", ".opus"))
        yield spoken(sound, text, speaker, "mls", split=split, listed_in=str(path), line=number)
    for name in sorted(sounds.keys() - said):
        if not name.startswith("."):
            usage.leave_out(Reason.EMPTY_TRANSCRIPT, str(sounds[name]))

"""VoxForge (voxforge.org): submissions of ten sentences or so, a folder each.

Layout: `<user>-<date>-<id>/wav/<name>.wav` (or `flac/`) and `etc/prompts-original`, lines
`<name> words as written`, or `etc/PROMPTS`, lines `<user>-<date>-<id>/mfc/<name> WORDS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fedvoice.data.corpora.reading import (
    AUDIO_SUFFIXES,
    Line,
    MaxSecs,
    Seed,
    TestFraction,
    hidden,
    keyed_lines,
    no_corpus,
    spoken,
    usable,
    with_split,
)
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.usage import Reason, Usage
from fedvoice.protocol.utterance import Utterance

_PROMPTS = ("prompts-original", "PROMPTS")
_ANONYMOUS = "anonymous"


def voxforge(
    root: Path,
    *,
    max_secs: MaxSecs = 0.0,
    test_fraction: TestFraction = 0.1,
    seed: Seed = 0,
    usage: Usage | None = None,
) -> list[Utterance]:
    """VoxForge by speaker; ROOT contains <user>-<date>-<id>/wav/ and etc/PROMPTS.

    Submissions of one user are one speaker; each anonymous one is a speaker of its own, since
    nobody knows who it was. Submissions whose prompts are not UTF-8 are counted.

    Example:
    fedvoice data voxforge --root voxforge/english --out manifest.jsonl

    Args:
        root: folder of unpacked submissions.
        usage: receives the counts of what is passed over.

    Raises:
        FedvoiceError: `not-found`, `too-little-usable`.
    """
    usage = Usage() if usage is None else usage
    etcs = sorted(p for p in root.glob("**/etc") if not hidden(p.relative_to(root)))
    folders = [etc.parent for etc in etcs if any((etc / name).is_file() for name in _PROMPTS)]
    if not folders:
        layout = f"{root}/<user>-<date>-<id>/etc/PROMPTS"
        raise no_corpus(root, "VoxForge", layout, "no prompts")
    found = [utterance for folder in folders for utterance in _submission(folder, usage)]
    return with_split(usable(found, usage, max_secs), False, test_fraction, seed)


def _submission(folder: Path, usage: Usage) -> Iterator[Utterance]:
    """The utterances of one submission."""
    sounds = {
        path.stem: path.absolute()
        for kind in ("wav", "flac")
        for path in sorted((folder / kind).glob("[!.]*"))
        if path.suffix.lower() in AUDIO_SUFFIXES
    }
    try:
        path, lines = _prompts(folder / "etc")
    except FedvoiceError as error:
        if error.code is not ErrorCode.BAD_MANIFEST:
            raise
        usage.leave_out(Reason.UNSUPPORTED_TEXT, f"{error.where}: {error.got}", len(sounds))
        return
    user = folder.name.partition("-")[0]
    speaker = folder.name if user.lower() == _ANONYMOUS else user
    said = set()
    for key, text, number in lines:
        name = key.rpartition("/")[2]
        said.add(name)
        audio = sounds.get(name, (folder / "wav" / f"{name}.wav").absolute())
        yield spoken(audio, text, speaker, "voxforge", listed_in=str(path), line=number)
    for name in sorted(sounds.keys() - said):
        usage.leave_out(Reason.EMPTY_TRANSCRIPT, str(sounds[name]))


def _prompts(etc: Path) -> tuple[Path, list[Line]]:
    """The first file of prompts that is UTF-8.

    Raises:
        FedvoiceError: `bad-manifest` if none is.
    """
    failed: FedvoiceError | None = None
    for path in (etc / name for name in _PROMPTS if (etc / name).is_file()):
        try:
            return path, list(keyed_lines(path, "prompts"))
        except FedvoiceError as error:
            failed = error
    assert failed is not None, etc
    raise failed

"""Common Voice: the TSV files of a release, and its clips.

Layout (https://github.com/common-voice/cv-dataset): `cv-corpus-*/<locale>/` holds `train.tsv`,
`dev.tsv`, `test.tsv`, `validated.tsv`, `clip_durations.tsv` and `clips/*.mp3`. The TSV files are
written without quoting: a quote in a sentence is text, and need not be closed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from fedvoice.data.corpora.reading import (
    UNKNOWN_SECS,
    Dev,
    Development,
    MaxSecs,
    Seed,
    TestFraction,
    bad_line,
    no_corpus,
    split_of,
    spoken,
    usable,
    with_split,
)
from fedvoice.protocol.files import read_text
from fedvoice.protocol.usage import Reason, Usage
from fedvoice.protocol.utterance import Utterance

_RELEASE = ("train", "dev", "test")
_NEEDED = ("client_id", "path", "sentence")
_AGAIN = "Unpack the release again."
_log = logging.getLogger("fedvoice.data")


def common_voice(
    root: Path,
    *,
    locale: Annotated[str, typer.Option(help="Which language, if ROOT holds several.")] = "",
    split_by_release: Annotated[
        bool, typer.Option(help="Use train.tsv, dev.tsv and test.tsv; else validated.tsv, drawn.")
    ] = True,
    dev: Dev = Development.LEAVE_OUT,
    min_up_votes: Annotated[int, typer.Option(help="Leave clips with fewer out.", min=0)] = 0,
    max_down_votes: Annotated[
        int, typer.Option(help="Leave clips with more out; -1: keep all.", min=-1)
    ] = -1,
    max_secs: MaxSecs = 0.0,
    test_fraction: TestFraction = 0.1,
    seed: Seed = 0,
    usage: Usage | None = None,
) -> list[Utterance]:
    """Common Voice by speaker (client_id); ROOT is a release, or one language of it.

    A release says which clips are for training, development and testing; its training part has
    one recording of each sentence alone. `--no-split-by-release` reads all validated clips and
    draws the test utterances. Lengths come from clip_durations.tsv; without it each clip is
    decoded, which takes minutes.

    Example:
    fedvoice data common-voice --root cv-corpus-17.0/cy --out cy.jsonl --resample 16000

    Args:
        root: `cv-corpus-*/`, or `cv-corpus-*/<locale>/`.
        usage: receives the counts of what is passed over.

    Raises:
        FedvoiceError: `not-found`, `bad-manifest`, `too-little-usable`, `missing-extra`.
    """
    usage = Usage() if usage is None else usage
    folder = _locale_folder(root, locale)
    parts: tuple[str, ...] = _RELEASE if split_by_release else ("validated",)
    if split_by_release and not (folder / "train.tsv").is_file():
        parts, split_by_release = ("validated",), False
        _log.warning("%s has no train.tsv: validated.tsv is read, test clips are drawn", folder)
    clips, lengths = str((folder / "clips").absolute()), _clip_lengths(folder)
    votes = (min_up_votes, max_down_votes)

    def found() -> Iterator[Utterance]:
        for part in parts:
            split = split_of(part, dev) if split_by_release else "train"
            for utterance, chosen in _rows(folder / f"{part}.tsv", clips, lengths, votes, split):
                if chosen:
                    yield utterance
                else:
                    usage.leave_out(Reason.NOT_CHOSEN, utterance.where)

    kept = usable(found(), usage, max_secs)
    return with_split(kept, split_by_release, test_fraction, seed)


def _locale_folder(root: Path, locale: str) -> Path:
    """The folder of one language."""
    layout = f"{root}/<locale>/validated.tsv"
    if (root / "validated.tsv").is_file() or (root / "train.tsv").is_file():
        return root
    tables = [*root.glob("*/validated.tsv"), *root.glob("*/*/validated.tsv")]
    folders = {path.parent.name: path.parent for path in sorted(tables)}
    chosen = [locale] if locale else list(folders)
    if len(chosen) == 1 and chosen[0] in folders:
        return folders[chosen[0]]
    if not folders:
        raise no_corpus(root, "Common Voice", layout, "no validated.tsv")
    got = f"the languages {', '.join(folders)}" + (f", not {locale}" if locale else "")
    raise no_corpus(root, "Common Voice", f"{layout}; name one by --locale", got)


def _clip_lengths(folder: Path) -> dict[str, float]:
    """Seconds by the name of a clip, as clip_durations.tsv has them."""
    path = folder / "clip_durations.tsv"
    if not path.is_file():
        return {}
    lengths = {}
    text = read_text(path, wanted="the lengths of clips", next_step=_AGAIN)
    for number, line in enumerate(text.split("\n")[1:], start=2):
        if line.strip():
            clip, _, millis = line.partition("\t")
            try:
                lengths[clip] = float(millis) / 1000
            except ValueError as error:
                wanted = "a clip and its milliseconds"
                raise bad_line(f"{path}:{number}", line[:80], wanted, _AGAIN) from error
    return lengths


def _rows(
    path: Path,
    clips: str,
    lengths: dict[str, float],
    votes: tuple[int, int],
    split: str | None,
) -> Iterator[tuple[Utterance, bool]]:
    """The clips of one table, and whether they are asked for."""
    lines = read_text(path, wanted="a table of clips", next_step=_AGAIN).split("\n")
    name, columns = str(path), lines[0].rstrip("\r").split("\t")
    missing = [column for column in _NEEDED if column not in columns]
    if missing:
        wanted = f"the columns {', '.join(_NEEDED)}, with tabs between"
        raise bad_line(f"{name}:1", f"no column {missing[0]}", wanted, _AGAIN)
    speaker_at, path_at, text_at = (columns.index(column) for column in _NEEDED)
    up_at, down_at = (columns.index(c) if c in columns else -1 for c in ("up_votes", "down_votes"))
    least, most = votes
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        fields = line.rstrip("\r").split("\t")
        if len(fields) != len(columns):
            got = f"{len(fields)} fields"
            raise bad_line(f"{name}:{number}", got, f"{len(columns)}, as in the first line", _AGAIN)
        chosen = split is not None
        if least or most >= 0:
            up, down = _votes(fields, up_at), _votes(fields, down_at)
            chosen = chosen and up >= least and (most < 0 or down <= most)
        clip, text = fields[path_at], fields[text_at]
        if "." not in clip:
            clip += ".mp3"  # the first releases name clips without it
        utterance = spoken(
            f"{clips}/{clip}",
            _unquoted(text) if '"' in text else text,
            fields[speaker_at],
            "common-voice",
            secs=lengths.get(clip, UNKNOWN_SECS),
            split=split or "",
            listed_in=name,
            line=number,
        )
        yield utterance, chosen


def _votes(fields: list[str], at: int) -> int:
    return int(fields[at]) if at >= 0 and fields[at].isdigit() else 0


def _unquoted(text: str) -> str:
    """A sentence that was quoted all the same, its quotes doubled, as editors of tables do."""
    inside = text[1:-1]
    if text[0] == text[-1] == '"' and '""' in inside and '"' not in inside.replace('""', ""):
        return inside.replace('""', '"')
    return text

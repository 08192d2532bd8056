"""A data set that the library `datasets` of Hugging Face saved on disk (`save_to_disk`).

Sound is never decoded by that library: its bytes are written to files as they are, or its files
are used where they lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fedvoice.data.corpora.reading import (
    Dev,
    Development,
    MaxSecs,
    Seed,
    TestFraction,
    missing_package,
    no_corpus,
    part_of,
    split_of,
    spoken,
    usable,
    with_split,
)
from fedvoice.protocol.errors import ErrorCode, FedvoiceError, make_folder
from fedvoice.protocol.files import write_file
from fedvoice.protocol.usage import Reason, Usage
from fedvoice.protocol.utterance import Utterance

_TEXTS = ("text", "sentence", "transcription", "transcript", "normalized_text")
_SPEAKERS = ("speaker_id", "client_id", "speaker")
_SUFFIXES = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg"}
Column = Annotated[str, typer.Option(help="Column; found by its usual names if not given.")]


def hugging_face(
    root: Path,
    *,
    audio_out: Annotated[
        Path | None, typer.Option(help="Folder that receives sound that is stored in the tables.")
    ] = None,
    audio_column: Column = "audio",
    text_column: Column = "",
    speaker_column: Column = "",
    dev: Dev = Development.LEAVE_OUT,
    max_secs: MaxSecs = 0.0,
    test_fraction: TestFraction = 0.1,
    seed: Seed = 0,
    usage: Usage | None = None,
) -> list[Utterance]:
    """A Hugging Face data set on disk (save_to_disk); ROOT is its folder.

    Splits called train, test and validation (also test.clean and the like) are the corpus's; others
    are counted as not-chosen. A data set without a test split has one drawn. Nothing is downloaded.

    Example:
    fedvoice data hf --root minds14 --audio-out sounds --out manifest.jsonl

    Args:
        root: folder with `dataset_dict.json` or `state.json`.
        usage: receives the counts of what is passed over.

    Raises:
        FedvoiceError: `missing-extra`, `not-found`, `bad-config` for a column that is not there or
            if `audio_out` is needed, `too-little-usable`.
    """
    usage = Usage() if usage is None else usage
    tables = _tables(root)
    known = {name: part_of(name) for name in tables} if len(tables) > 1 else {}
    brings_one = "test" in known.values()

    def found() -> Iterator[Utterance]:
        for name, table in tables.items():
            part = known.get(name) if known else "train"
            split = split_of(part, dev) if part else None
            if split is None:
                usage.leave_out(Reason.NOT_CHOSEN, f"{root}: {name}", len(table))
                continue
            yield from _rows(
                table,
                f"{root}/{name}".removesuffix("/"),
                split,
                _column(table, audio_column, ("audio",), "audio", root),
                _column(table, text_column, _TEXTS, "text", root),
                _column(table, speaker_column, _SPEAKERS, "speaker", root, needed=False),
                None if audio_out is None else audio_out.absolute() / name,
            )

    return with_split(usable(found(), usage, max_secs), brings_one, test_fraction, seed)


def _tables(root: Path) -> dict[str, Any]:
    """Tables by the name of their split; "" for a data set without splits."""
    try:
        from datasets import DatasetDict, load_from_disk
    except ImportError as error:
        raise missing_package("datasets", error) from error
    try:
        opened = load_from_disk(str(root))
    except (OSError, ValueError, KeyError) as error:
        layout = f"{root}/dataset_dict.json or state.json"
        raise no_corpus(root, "a data set saved by save_to_disk", layout, error) from error
    return dict(opened) if isinstance(opened, DatasetDict) else {"": opened}


def _column(
    table: Any, given: str, usual: Sequence[str], what: str, root: Path, needed: bool = True
) -> str:
    """The name of a column; empty if there is none and none is needed."""
    names = [given] if given else usual
    found = next((name for name in names if name in table.column_names), "")
    if not found and (needed or given):
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=str(root),
            got=f"the columns {', '.join(table.column_names)}",
            wanted=f"a column {' or '.join(names)}",
            next_step=f"Name it by --{what}-column.",
        )
    return found


def _rows(
    table: Any, where: str, split: str, audio: str, text: str, speaker: str, out: Path | None
) -> Iterator[Utterance]:
    """The utterances of one table."""
    from datasets import Audio

    columns = [name for name in (audio, text, speaker) if name]
    rows = table.select_columns(columns).cast_column(audio, Audio(decode=False))
    for number, row in enumerate(rows, start=1):
        sound = row[audio] or {}
        data, path = sound.get("bytes"), sound.get("path") or ""
        if data is not None:
            path = str(_written(data, out, number, where))
        yield spoken(
            Path(path).absolute(),
            row[text] or "",
            "" if not speaker or row[speaker] is None else str(row[speaker]),
            "hf",
            split=split,
            listed_in=where,
            line=number,
        )


def _written(data: bytes, out: Path | None, number: int, where: str) -> Path:
    """Sound of a table as a file; one that is there already stays."""
    if out is None:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=where,
            got="sound that is stored in the tables",
            wanted="a folder for it",
            next_step="Name one: --audio-out FOLDER.",
        )
    if number == 1:
        make_folder(out)
    target = out / f"{number:07d}{_SUFFIXES.get(data[:4], '.mp3')}"
    if not (target.is_file() and target.stat().st_size == len(data)):
        out.mkdir(parents=True, exist_ok=True)
        write_file(target, data)
    return target

"""NeMo-style manifests: one JSON object a line, one utterance each.

Fields: `audio_filepath` (absolute, or relative to the manifest), `text`, `duration` (seconds),
and, where known, `speaker`, `split` (train | test), `source`. Other fields are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import read_json_lines, read_text
from fedvoice.protocol.text import fold_white_space


@dataclass(frozen=True)
class Utterance:
    """One recording with its transcript as it was written: a task's text rule makes words of it."""

    audio_path: Path
    text: str
    duration_secs: float
    speaker: str
    split: str = "train"
    source: str = ""
    kind: str = ""


def read_manifest(path: Path, *, check_audio: bool = True) -> list[Utterance]:
    """Read and check a manifest.

    Args:
        check_audio: also check that every audio file exists.

    Raises:
        FedvoiceError: `not-found`, `bad-manifest`, `empty-transcript`, `missing-audio`, each with
            file and line.
    """
    text = read_text(
        path,
        wanted="a manifest: one JSON object a line",
        next_step="Check the path; `fedvoice data` makes manifests from folders of audio.",
    )
    utterances = [
        _read_line(fields, where, path.parent, check_audio)
        for where, fields in read_json_lines(text, str(path))
    ]
    if not utterances:
        raise FedvoiceError(
            ErrorCode.BAD_MANIFEST,
            where=str(path),
            got="no utterances",
            wanted="at least one JSON object",
            next_step="Check that the manifest was written completely.",
        )
    return utterances


def _read_line(fields: dict[str, Any], where: str, root: Path, check_audio: bool) -> Utterance:
    try:
        audio_path = root / fields["audio_filepath"]
        text = fold_white_space(fields["text"])
        utterance = Utterance(
            audio_path=audio_path,
            text=text,
            duration_secs=float(fields["duration"]),
            speaker=str(fields.get("speaker", "")),
            split=str(fields.get("split", "train")),
            source=str(fields.get("source", "")),
            kind=str(fields.get("kind", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FedvoiceError(
            ErrorCode.BAD_MANIFEST,
            where=where,
            got=f"{type(error).__name__}: {error}",
            wanted="a JSON object with audio_filepath, text and duration",
            next_step="Correct the line.",
        ) from error
    if not text:
        raise FedvoiceError(
            ErrorCode.EMPTY_TRANSCRIPT,
            where=where,
            got="an empty text",
            wanted="the words spoken",
            next_step="Transcribe the utterance or remove the line.",
        )
    if check_audio and not audio_path.is_file():
        raise FedvoiceError(
            ErrorCode.MISSING_AUDIO,
            where=where,
            got=f"no file {audio_path}",
            wanted="an audio file",
            next_step="Paths are relative to the manifest: move it or correct the line.",
        )
    return utterance


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write a manifest; audio paths inside its folder become relative."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for utterance in utterances:
            fields = {k: v for k, v in asdict(utterance).items() if v != ""}
            audio_path = utterance.audio_path
            if audio_path.is_relative_to(path.parent):
                audio_path = audio_path.relative_to(path.parent)
            else:
                audio_path = audio_path.absolute()
            del fields["audio_path"], fields["duration_secs"]
            fields = {
                "audio_filepath": str(audio_path),
                "duration": utterance.duration_secs,
                **fields,
            }
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")

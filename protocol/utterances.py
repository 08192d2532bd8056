"""NeMo-style manifests: one JSON object a line, one utterance each.

Fields: `audio_filepath` (absolute, or relative to the manifest), `text`, `duration` (seconds),
and, where known, `speaker`, `split` (train | test), `source`, `kind`, and `offset` (seconds) where
the utterance is the segment [offset, offset + duration] of a longer recording. Fields that would
change the meaning and are not supported are refused by name; others are ignored.
"""

from __future__ import annotations

import gc
import json
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import json_lines
from fedvoice.protocol.text import fold_white_space
from fedvoice.protocol.utterance import Utterance, audio_of, make_utterance

__all__ = ["Utterance", "iterate_manifest", "read_manifest", "write_manifest"]

SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "dev": "test",
    "development": "test",
    "val": "test",
    "valid": "test",
    "validation": "test",
}
"""Names of splits in lower case -> what they are read as. Development data is never trained on."""
_UNSUPPORTED = {
    "channel": "channels are averaged: write the channel to a file of its own",
    "channel_selector": "channels are averaged: write the channel to a file of its own",
    "feats": 'give sound, or features by a manifest of `corpus = "features"`',
    "feats_filepath": 'give sound, or features by a manifest of `corpus = "features"`',
    "start": "name it offset, with duration the length of the segment",
    "start_time": "name it offset, with duration the length of the segment",
    "end": "give offset and duration, the length of the segment",
    "end_time": "give offset and duration, the length of the segment",
}
"""Fields that say which part of a file is meant in a way that is not read -> what to do."""
_FIELDS = "a JSON object with audio_filepath, text and duration"
MANIFEST_LOGGER = "fedvoice.manifest"
_log = logging.getLogger(MANIFEST_LOGGER)


def read_manifest(path: Path, *, check_audio: bool = True) -> list[Utterance]:
    """Read and check a manifest.

    Args:
        check_audio: also check that every audio file exists.

    Raises:
        FedvoiceError: `not-found`, `bad-manifest`, `empty-transcript`, `missing-audio`, each with
            file and line.
    """
    with _without_collection():
        return list(iterate_manifest(path, check_audio=check_audio))


def iterate_manifest(
    path: Path,
    *,
    check_audio: bool = True,
    refused: Callable[[FedvoiceError], None] | None = None,
) -> Iterator[Utterance]:
    """As `read_manifest`, one utterance after the other.

    Args:
        refused: called with the error of a line whose fields are wrong, instead of raising it.

    Raises:
        FedvoiceError: as `read_manifest`, where the fault is reached.
    """
    rows = _Rows(path)
    lines = json_lines(
        path,
        wanted="a manifest: one JSON object a line",
        next_step="Check the path; `fedvoice data` makes manifests from folders of audio.",
    )
    line = 0
    for line, fields in lines:
        try:
            utterance = rows.utterance(fields, line)
        except FedvoiceError as error:
            if refused is None:
                raise
            refused(error)
            continue
        if check_audio and not os.path.isfile(audio_of(utterance)):
            raise FedvoiceError(
                ErrorCode.MISSING_AUDIO,
                where=utterance.where,
                got=f"no file {utterance.audio_path}",
                wanted="an audio file",
                next_step="Paths are relative to the manifest: move it or correct the line.",
            )
        yield utterance
    if not line:
        raise FedvoiceError(
            ErrorCode.BAD_MANIFEST,
            where=str(path),
            got="no utterances",
            wanted="at least one JSON object",
            next_step="Check that the manifest was written completely.",
        )
    for said, count in rows.other_splits.items():
        _say_split(str(path), said, count)


class _Rows:
    """The lines of one manifest as utterances."""

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        self._root = os.path.join(str(path.parent), "")
        self._names: dict[object, str] = {None: ""}
        """Speakers and sources: one text each, however many lines have it."""
        self._kinds_of_line: set[tuple[str, ...]] = set()
        """Fields of lines, in their order, that were looked at."""
        self.other_splits: Counter[str] = Counter()
        """Splits that go by another name -> lines."""

    def utterance(self, fields: dict[str, Any], line: int) -> Utterance:
        """One line's.

        Raises:
            FedvoiceError: `bad-manifest`, `empty-transcript`.
        """
        if tuple(fields) not in self._kinds_of_line:
            self._check_fields(fields, line)
        get = fields.get
        audio, said, secs = get("audio_filepath"), get("text"), get("duration")
        if type(audio) is not str or not audio:
            raise self._bad(line, "audio_filepath", audio, "the path of a sound file")
        if type(said) is not str:
            raise self._bad(line, "text", said, "the words spoken, as a JSON text")
        if type(secs) is not float or not 0 <= secs < math.inf:
            secs = self._secs(secs, line, "duration")
        text = fold_white_space(said)
        if not text:
            raise FedvoiceError(
                ErrorCode.EMPTY_TRANSCRIPT,
                where=f"{self._name}:{line}",
                got="an empty text",
                wanted="the words spoken",
                next_step="Transcribe the utterance or remove the line.",
            )
        offset = get("offset")
        split = get("split")
        path = audio if audio[0] == os.sep else self._root + audio
        names = self._names
        try:
            speaker, source, kind = names[get("speaker")], names[get("source")], names[get("kind")]
        except (KeyError, TypeError):
            speaker, source, kind = map(self._name_of, (get("speaker"), get("source"), get("kind")))
        return make_utterance(
            path if offset is None else self._name_of(path),
            text,
            secs,
            speaker,
            split if split in ("train", "test") else self._split(split, line),
            source,
            kind,
            None if offset is None else self._secs(offset, line, "offset"),
            self._name,
            line,
        )

    def _name_of(self, value: object) -> str:
        try:
            return self._names[value]
        except KeyError:
            return self._names.setdefault(value, str(value))
        except TypeError:  # a list
            return str(value)

    def _split(self, value: object, line: int) -> str:
        if value is None or value == "":
            return "train"
        split = SPLITS.get(value.strip().lower()) if isinstance(value, str) else None
        if split is None:
            raise self._bad(line, "split", value, f"train or test (or {', '.join(SPLITS)})")
        self.other_splits[str(value)] += 1
        return split

    def _secs(self, value: object, line: int, name: str) -> float:
        """A number of seconds, also as a text."""
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            with suppress(ValueError, OverflowError):
                secs = float(value)
                if 0 <= secs < math.inf:
                    return secs
        raise self._bad(line, name, value, "seconds: a finite number, not negative")

    def _check_fields(self, fields: dict[str, Any], line: int) -> None:
        """Refuse fields that would change the meaning and are not read."""
        for name in ("audio_filepath", "text", "duration"):
            if name not in fields:
                also = " beside offset" if name == "duration" and "offset" in fields else ""
                raise self._bad_line(line, f"no {name}{also}", _FIELDS, "Correct the line.")
        given = [name for name in _UNSUPPORTED if fields.get(name) is not None]
        for name in given:
            raise self._bad_line(
                line,
                f"a field {name!r}, which is not read and changes what is meant",
                _FIELDS + ", and offset for a segment",
                f"Leave it out: {_UNSUPPORTED[name]}.",
            )
        if _UNSUPPORTED.keys().isdisjoint(fields):
            self._kinds_of_line.add(tuple(fields))

    def _bad(self, line: int, name: str, value: object, wanted: str) -> FedvoiceError:
        shown = json.dumps(value, ensure_ascii=False, default=str)
        return self._bad_line(line, f"{name} {shown[:80]}", wanted, f"Correct {name} in the line.")

    def _bad_line(self, line: int, got: str, wanted: str, next_step: str) -> FedvoiceError:
        return FedvoiceError(
            ErrorCode.BAD_MANIFEST,
            where=f"{self._name}:{line}",
            got=got,
            wanted=wanted,
            next_step=next_step,
        )


@lru_cache(maxsize=64)  # once a process, however often a corpus is read
def _say_split(manifest: str, said: str, count: int) -> None:
    _log.warning(
        "%s: split %r of %d utterance%s is read as %s",
        manifest,
        said,
        count,
        "" if count == 1 else "s",
        SPLITS[said.strip().lower()],
    )


@contextmanager
def _without_collection() -> Iterator[None]:
    """Without the collector of cyclic garbage, which would look at every utterance read so far
    again and again: a third of the time for a million lines."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write a manifest; audio paths inside its folder become relative."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for utterance in utterances:
            audio_path = utterance.audio_path
            if audio_path.is_relative_to(path.parent):
                audio_path = audio_path.relative_to(path.parent)
            else:
                audio_path = audio_path.absolute()
            fields: dict[str, Any] = {
                "audio_filepath": str(audio_path),
                "duration": utterance.duration_secs,
                "text": utterance.text,
                "speaker": utterance.speaker,
                "split": utterance.split,
                "source": utterance.source,
                "kind": utterance.kind,
            }
            if utterance.offset_secs is not None:
                fields["offset"] = utterance.offset_secs
            fields = {name: value for name, value in fields.items() if value != ""}
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")

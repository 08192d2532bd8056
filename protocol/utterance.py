"""One utterance: a recording, or a part of one, with its transcript."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording with its transcript, or a segment of a recording."""

    audio_path: Path
    """Kept as text: of a million utterances, paths are most of the memory."""
    text: str
    duration_secs: float
    speaker: str
    split: str = "train"
    source: str = ""
    kind: str = ""
    offset_secs: float | None = None
    """Where a segment of `duration_secs` begins in the recording; None: the whole recording."""
    manifest: str = field(default="", compare=False, repr=False)
    """The file that it was read from, and its line there; empty and 0 if from none."""
    line: int = field(default=0, compare=False, repr=False)

    @property
    def where(self) -> str:
        """How errors name it: file and line, or the recording."""
        return f"{self.manifest}:{self.line}" if self.manifest else str(self.audio_path)

    @property
    def segment_secs(self) -> float | None:
        """Length of the segment; None: the whole recording."""
        return None if self.offset_secs is None else self.duration_secs


_SLOTS: dict[str, Any] = {name: getattr(Utterance, name) for name in Utterance.__slots__}
_audio = _SLOTS["audio_path"]
(
    _set_audio,
    _set_text,
    _set_duration,
    _set_speaker,
    _set_split,
    _set_source,
    _set_kind,
    _set_offset,
    _set_manifest,
    _set_line,
) = (slot.__set__ for slot in _SLOTS.values())
_new = object.__new__

Utterance.audio_path = property(  # type: ignore[misc,assignment]
    lambda utterance: Path(_audio.__get__(utterance)),
    lambda utterance, path: _set_audio(utterance, str(path)),
)


def audio_of(utterance: Utterance) -> str:
    """`audio_path` as text, without making a `Path`."""
    text: str = _audio.__get__(utterance)
    return text


def make_utterance(
    audio: str,
    text: str,
    duration_secs: float,
    speaker: str,
    split: str,
    source: str,
    kind: str,
    offset_secs: float | None,
    manifest: str,
    line: int,
) -> Utterance:
    """As `Utterance(...)`, in half the time: manifests have millions of lines."""
    made = _new(Utterance)
    _set_audio(made, audio)
    _set_text(made, text)
    _set_duration(made, duration_secs)
    _set_speaker(made, speaker)
    _set_split(made, split)
    _set_source(made, source)
    _set_kind(made, kind)
    _set_offset(made, offset_secs)
    _set_manifest(made, manifest)
    _set_line(made, line)
    return made

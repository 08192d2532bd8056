"""What is used of a corpus and what is left out, by reason: nothing is left out in silence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.notes import counted

LEAST_USABLE = 0.9
"""Part of a corpus that must be usable, unless a person allows less."""


class Reason(StrEnum):
    """Why an utterance is not used. A phone gives the same names."""

    MISSING_AUDIO = ErrorCode.MISSING_AUDIO.value
    UNREADABLE_AUDIO = ErrorCode.UNREADABLE_AUDIO.value
    WRONG_SAMPLE_RATE = ErrorCode.WRONG_SAMPLE_RATE.value
    WRONG_SHAPE = ErrorCode.WRONG_SHAPE.value
    NOT_FINITE = ErrorCode.NOT_FINITE.value
    SILENT = ErrorCode.SILENT.value
    """Every sample is 0."""
    TOO_SHORT = "too-short"
    """Less than one feature frame."""
    TOO_LONG = "too-long"
    """Longer than every bucket of the task, or than its `max_secs`."""
    TOO_MANY_TOKENS = "too-many-tokens"
    """More targets than the bucket of its length holds."""
    EMPTY_TRANSCRIPT = ErrorCode.EMPTY_TRANSCRIPT.value
    UNKNOWN_TOKEN = ErrorCode.UNKNOWN_TOKEN.value
    UNSUPPORTED_TEXT = ErrorCode.UNSUPPORTED_TEXT.value
    """Characters that the task's text rule refuses."""
    DUPLICATE = "duplicate"
    """The same recording as an earlier one."""
    NOT_CHOSEN = "not-chosen"
    """Left out on request: another kind, a longest length, votes."""


@dataclass(frozen=True)
class LeftOut:
    """Utterances left out for one reason. first: the first one, as errors name it."""

    count: int
    first: str


@dataclass
class Usage:
    """Counts over a corpus. left_out: reason -> its utterances."""

    used: int = 0
    left_out: dict[str, LeftOut] = field(default_factory=dict)

    @property
    def skipped(self) -> int:
        """Utterances left out."""
        return sum(part.count for part in self.left_out.values())

    @property
    def share(self) -> float:
        """The part that is used, of those that were not left out on request; 1 of none."""
        asked = self.left_out.get(Reason.NOT_CHOSEN)
        unusable = self.skipped - (asked.count if asked else 0)
        total = self.used + unusable
        return self.used / total if total else 1.0

    def leave_out(self, reason: str, where: str, count: int = 1) -> None:
        """Count an utterance that is not used."""
        held = self.left_out.get(str(reason))
        self.left_out[str(reason)] = LeftOut(
            (held.count if held else 0) + count, held.first if held else where
        )

    def add(self, other: Usage) -> None:
        """Add the counts of another part of the corpus."""
        self.used += other.used
        for reason, part in other.left_out.items():
            self.leave_out(reason, part.first, part.count)

    def describe(self) -> str:
        """One line: "24 utterances used; left out: 2 too-short (first: a.wav)"."""
        used = f"{counted(self.used, 'utterance')} used"
        parts = [
            f"{part.count} {reason} (first: {part.first})" for reason, part in self.left_out.items()
        ]
        return f"{used}; left out: {', '.join(parts)}" if parts else f"{used}, none left out"

    def as_dict(self) -> dict[str, Any]:
        """As in `results.json` and `fedvoice data check --json`."""
        return {
            "used": self.used,
            "left_out": {reason: part.count for reason, part in self.left_out.items()},
            "first_left_out": {reason: part.first for reason, part in self.left_out.items()},
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Usage:
        """What `as_dict` gave."""
        first = fields.get("first_left_out", {})
        return cls(
            fields.get("used", 0),
            {why: LeftOut(n, first.get(why, "")) for why, n in fields.get("left_out", {}).items()},
        )


def total(parts: Iterable[Usage]) -> Usage:
    """The counts of several parts of a corpus."""
    found = Usage()
    for part in parts:
        found.add(part)
    return found


_WAYS_OUT = {
    str(Reason.WRONG_SAMPLE_RATE): "Let features.sample_rate of the task be the recordings', or "
    "convert them: ffmpeg -i IN -ar 16000 -ac 1 OUT.",
    str(Reason.UNKNOWN_TOKEN): "Make the task's vocabulary from texts that have these words.",
    str(Reason.TOO_LONG): "Give the task a longer bucket (frames), or cut the recordings.",
}


def demand_usable(usage: Usage, where: str, *, allow_skipped: bool = False) -> None:
    """Stop where a good part of a corpus would be left out.

    Raises:
        FedvoiceError: `too-little-usable`, or the reason where there is one alone, such as
            `wrong-sample-rate`, if less than `LEAST_USABLE` is usable, unless `allow_skipped`;
            always if nothing is.
    """
    if usage.used and (allow_skipped or usage.share >= LEAST_USABLE):
        return
    reasons = set(usage.left_out) - {str(Reason.NOT_CHOSEN)}
    only = reasons.pop() if len(reasons) == 1 else ""
    ways_out = [_WAYS_OUT.get(only, "`fedvoice data check MANIFEST --task DIR` lists them.")]
    if usage.used:
        ways_out.append("--allow-skipped goes on without what is left out.")
    part = f"a corpus of which {LEAST_USABLE:.0%} is usable"
    raise FedvoiceError(
        ErrorCode(only) if only in list(ErrorCode) else ErrorCode.TOO_LITTLE_USABLE,
        where=where,
        got=usage.describe(),
        wanted=part if usage.used else "speech to train on",
        next_step=" ".join(ways_out),
    )

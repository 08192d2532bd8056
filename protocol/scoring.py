"""Word and character errors of transcripts against what was said, by jiwer.

Characters are Unicode code points, those of normalised transcripts. A space between two words is
one of them; white space at the ends of an utterance is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Scoring(StrEnum):
    """What a task's errors are counted in."""

    WORDS = "words"
    """Words of the transcript, by the best alignment; and beside them its characters."""
    LABELS = "labels"
    """Labels, compared position by position. They have no characters."""


@dataclass(frozen=True)
class WordErrors:
    """Counts of words over a set of utterances."""

    word_errors: int
    words: int
    utterances: int

    @property
    def wer(self) -> float:
        """Errors per reference word, as a fraction; 0 without words."""
        return self.word_errors / self.words if self.words else 0.0


@dataclass(frozen=True)
class CharacterErrors:
    """Counts of characters over a set of utterances."""

    char_errors: int
    chars: int

    @property
    def cer(self) -> float:
        """Errors per reference character, as a fraction; 0 without characters."""
        return self.char_errors / self.chars if self.chars else 0.0


@dataclass(frozen=True)
class ErrorCounts:
    """errors and references: words, or labels for models that label frames.

    char_errors and chars: characters of the same transcripts; 0 where they are not counted: labels,
    evaluations of earlier versions, phones that report none.
    """

    errors: int
    references: int
    char_errors: int = 0
    chars: int = 0

    @property
    def percent(self) -> float | None:
        """The error rate; None without references."""
        return 100.0 * self.errors / self.references if self.references else None

    @property
    def char_percent(self) -> float | None:
        """The character error rate; None without characters."""
        return 100.0 * self.char_errors / self.chars if self.chars else None

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.errors + other.errors,
            self.references + other.references,
            self.char_errors + other.char_errors,
            self.chars + other.chars,
        )


def count_word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> WordErrors:
    """Substitutions, deletions and insertions of the best alignment of each pair."""
    if not references:
        return WordErrors(0, 0, 0)
    import jiwer

    counts = jiwer.process_words(list(references), list(hypotheses))
    return WordErrors(
        word_errors=counts.substitutions + counts.deletions + counts.insertions,
        words=counts.hits + counts.substitutions + counts.deletions,
        utterances=len(references),
    )


def count_character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> CharacterErrors:
    """The same of characters; see the module for what is one. As `jiwer.cer`."""
    if not references:
        return CharacterErrors(0, 0)
    import jiwer

    counts = jiwer.process_characters(list(references), list(hypotheses))
    return CharacterErrors(
        char_errors=counts.substitutions + counts.deletions + counts.insertions,
        chars=counts.hits + counts.substitutions + counts.deletions,
    )

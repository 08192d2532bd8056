"""Word errors of transcripts against what was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Scoring(StrEnum):
    """What a task's errors are counted in."""

    WORDS = "words"
    """Words of the transcript, by the best alignment."""
    LABELS = "labels"
    """Labels, compared position by position."""


@dataclass(frozen=True)
class WordErrors:
    """Counts over a set of utterances."""

    word_errors: int
    words: int
    utterances: int

    @property
    def wer(self) -> float:
        """Errors per reference word, as a fraction; 0 without words."""
        return self.word_errors / self.words if self.words else 0.0


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

"""Error rates of transcripts against the references."""

from __future__ import annotations

from collections.abc import Sequence

from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.scoring import (
    ErrorCounts,
    Scoring,
    count_character_errors,
    count_word_errors,
)
from fedvoice.protocol.task import TaskManifest
from fedvoice.simulation.clients import ClientData, Population
from fedvoice.simulation.fast.course import fitting
from fedvoice.simulation.trainers import Trainer


def evaluate(
    trainer: Trainer, manifest: TaskManifest, data: ClientData, weights: FlatVector
) -> ErrorCounts:
    """Errors of `weights` [P] on a test set; examples that fit no bucket are left out.

    The reference of word and character errors is the normalised transcript, which may hold words
    that the task lacks; decoded targets stand in where there is no text.
    """
    rows, _ = fitting(manifest, data, range(len(data)))
    tokens = trainer.transcribe(data, weights)
    ids = [data.targets[row, : data.target_counts[row]].tolist() for row in rows]
    found = [tokens[row] for row in rows]
    if manifest.scoring is Scoring.LABELS:
        return count_label_errors(ids, found)
    vocabulary = manifest.vocabulary
    references = [
        (data.texts[row] if data.texts else "") or vocabulary.decode(target)
        for row, target in zip(rows, ids, strict=True)
    ]
    hypotheses = [vocabulary.decode(tokens) for tokens in found]
    words = count_word_errors(references, hypotheses)
    characters = count_character_errors(references, hypotheses)
    return ErrorCounts(words.word_errors, words.words, characters.char_errors, characters.chars)


def judged(
    trainer: Trainer, manifest: TaskManifest, population: Population, weights: FlatVector
) -> dict[str, ErrorCounts]:
    """Errors of `weights` [P] by the population's test sets."""
    return {
        name: sum((evaluate(trainer, manifest, part, weights) for part in parts), ErrorCounts(0, 0))
        for name, parts in population.evaluation.items()
    }


def count_label_errors(
    references: Sequence[Sequence[int]], hypotheses: Sequence[Sequence[int]]
) -> ErrorCounts:
    """Places whose label differs or is missing."""
    wrong = sum(
        sum(r != h for r, h in zip(reference, hypothesis, strict=False))
        + max(0, len(reference) - len(hypothesis))
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    )
    return ErrorCounts(wrong, sum(len(reference) for reference in references))

"""Test utterances decoded with a run's final weights, for its report.

The utterances are the simulation's own test data; phones never send text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from fedvoice.data.references import Reference, References
from fedvoice.protocol.engine import Examples
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.scoring import Scoring
from fedvoice.protocol.task import TaskManifest
from fedvoice.protocol.utterances import Utterance
from fedvoice.reporting.words import Transcript, write_transcripts
from fedvoice.simulation.clients import ClientData, Population
from fedvoice.simulation.speech import DatasetPopulation, FeatureLibrary, example_of
from fedvoice.simulation.trainers import Trainer

KEPT = 200
"""Most utterances of a run that are decoded and kept."""


def keep_transcripts(
    folder: Path,
    population: Population,
    manifest: TaskManifest,
    trainer: Trainer,
    weights: FlatVector,
) -> None:
    """Write `transcripts.jsonl` into a run's folder, if its test data are utterances with words."""
    if isinstance(population, DatasetPopulation):
        keep_transcripts_of(
            folder, population.tests, manifest, trainer, weights, population.library
        )


def keep_transcripts_of(
    folder: Path,
    tests: Mapping[str, References],
    manifest: TaskManifest,
    trainer: Trainer,
    weights: FlatVector,
    library: FeatureLibrary,
) -> None:
    """As `keep_transcripts`, of test utterances by the name of their rate."""
    if manifest.scoring is not Scoring.WORDS:
        return
    chosen, examples = [], []
    for name, reference in spread(tests, KEPT):
        example = example_of(reference, manifest, library, testing=True)
        if example is not None:
            chosen.append((name, reference))
            examples.append(example)
    if not chosen:
        return
    settings = manifest.features
    data = ClientData.collate(examples, settings.stack, settings.mel_bins)
    tokens = trainer.transcribe(data, weights)
    decode = manifest.vocabulary.decode
    write_transcripts(
        folder,
        (
            Transcript(
                name, _speaker(reference), example.text or decode(example.targets), decode(ids)
            )
            for (name, reference), example, ids in zip(chosen, examples, tokens, strict=True)
        ),
    )


def spread(tests: Mapping[str, References], most: int) -> list[tuple[str, Reference]]:
    """Up to `most` test utterances: one of each speaker, a second of each, and so on."""
    groups: dict[tuple[str, str], list[Reference]] = defaultdict(list)
    for name, references in tests.items():
        if isinstance(references, Examples):  # arrays without speakers and words
            continue
        for reference in references:
            groups[name, _speaker(reference)].append(reference)
    turns = [
        (turn, name, speaker, reference)
        for (name, speaker), own in groups.items()
        for turn, reference in enumerate(own)
    ]
    turns.sort(key=lambda turn: turn[:3])
    return [(name, reference) for _, name, _, reference in turns[:most]]


def _speaker(reference: Reference) -> str:
    return reference.speaker if isinstance(reference, Utterance) else ""

"""Word error rate of given weights on the phone's own test examples."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from device_runtime.course import UNUSABLE
from device_runtime.memory import PeakMemory
from protocol.cost import training_memory_bytes
from protocol.engine import Engine, Example, make_batch
from protocol.errors import FedvoiceError
from protocol.generated import fedvoice_pb2 as pb
from protocol.parameters import FlatVector
from protocol.task import Bucket


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


def evaluate(
    engine: Engine,
    examples: Sequence[Example],
    weights: FlatVector,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    memory_baseline_bytes: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> pb.Statistics | None:
    """Decode every usable example greedily; None if `should_stop` ended it.

    Args:
        examples: as for `trainer.train`.
        weights: float32 [P].

    Raises:
        FedvoiceError: `wrong-shape` if `weights` are not of the engine's task.
    """
    manifest = engine.manifest
    manifest.parameters.check(weights, "weights to evaluate")
    memory = PeakMemory(memory_baseline_bytes)
    started = clock()
    members, skipped = _by_bucket(engine, examples)
    references: list[str] = []
    hypotheses: list[str] = []
    for bucket, indices in members.items():
        for start in range(0, len(indices), bucket.batch):
            if should_stop():
                return None
            rows = [examples[i] for i in indices[start : start + bucket.batch]]
            batch = make_batch(rows, bucket, manifest, weight=0.0)
            tokens = engine.decode(bucket, weights, batch.features, batch.frame_counts)
            references += [manifest.vocabulary.decode(row.targets) for row in rows]
            hypotheses += [manifest.vocabulary.decode(ids) for ids in tokens[: len(rows)]]
            memory.sample()
    errors = count_word_errors(references, hypotheses)
    return pb.Statistics(
        examples=errors.utterances,
        train_secs=clock() - started,
        peak_memory_bytes=memory.growth_bytes(),
        planned_memory_bytes=training_memory_bytes(
            weights_bytes=manifest.parameters.weights_bytes,
            optimizer_state_bytes=0,
            arena_bytes=max((b.decode_arena_bytes for b in members), default=0),
        ),
        word_errors=errors.word_errors,
        words=errors.words,
        utterances=errors.utterances,
        skipped_examples=skipped,
    )


def _by_bucket(engine: Engine, examples: Sequence[Example]) -> tuple[dict[Bucket, list[int]], int]:
    """Indices of the usable examples by bucket, and how many are not usable."""
    manifest = engine.manifest
    members: dict[Bucket, list[int]] = defaultdict(list)
    skipped = 0
    for index in range(len(examples)):
        try:
            example = examples[index]
        except FedvoiceError as error:
            if error.code not in UNUSABLE:
                raise
            skipped += 1
            continue
        frames = manifest.features.stacked_frames(len(example.features))
        bucket = manifest.bucket_for(frames, len(example.targets))
        if bucket is None:
            skipped += 1
        else:
            members[bucket].append(index)
    return members, skipped

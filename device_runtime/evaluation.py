"""Word and character error rate of given weights on the phone's own test examples."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from fedvoice.device_runtime.course import UNUSABLE
from fedvoice.device_runtime.memory import PeakMemory
from fedvoice.protocol.cost import training_memory_bytes
from fedvoice.protocol.engine import Engine, Example, make_batch
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.scoring import Scoring, count_character_errors, count_word_errors
from fedvoice.protocol.task import Bucket


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

    The reference of an example is its normalised transcript. Characters are counted unless the
    task's errors are those of labels.

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
            references += [row.text or manifest.vocabulary.decode(row.targets) for row in rows]
            hypotheses += [manifest.vocabulary.decode(ids) for ids in tokens[: len(rows)]]
            memory.sample()
    errors = count_word_errors(references, hypotheses)
    statistics = pb.Statistics(
        examples=errors.utterances,
        train_secs=clock() - started,
        peak_memory_bytes=memory.growth_bytes(),
        planned_memory_bytes=training_memory_bytes(
            weights_bytes=manifest.parameters.weights_bytes,
            optimizer_state_bytes=0,
            arena_bytes=max((b.decode_arena_bytes for b in members), default=0),
            frozen_bytes=manifest.frozen_bytes,
        ),
        word_errors=errors.word_errors,
        words=errors.words,
        utterances=errors.utterances,
        skipped_examples=skipped,
    )
    if manifest.scoring is Scoring.WORDS:
        characters = count_character_errors(references, hypotheses)
        statistics.char_errors, statistics.chars = characters.char_errors, characters.chars
    return statistics


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

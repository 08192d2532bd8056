"""Which examples a round uses and in which order: pure, drawn from portable streams.

Every host draws the same: see `docs/protocol.md`.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.random import Purpose, Stream
from fedvoice.protocol.task import Bucket, TaskManifest


def draw_examples(
    count: int, plan: TrainingPlan, *, client_id: str, round_number: int
) -> list[int]:
    """Indices, ascending, of the at most L examples of `count` that this round uses.

    Those of a full permutation's first L places, from the DATA_LIMIT stream: a fresh draw each
    round. With L = 0 or L >= count all are used and nothing is drawn.
    """
    if plan.data_limit == 0 or plan.data_limit >= count:
        return list(range(count))
    stream = Stream(plan.seed, client_id, round_number, Purpose.DATA_LIMIT)
    return sorted(stream.permutation(count)[: plan.data_limit])


def draw_epochs(
    buckets: Sequence[int], plan: TrainingPlan, *, client_id: str, round_number: int
) -> list[list[list[int]]]:
    """All batches of a round: epochs of batches of positions in `buckets`.

    In each epoch every example comes exactly once: shuffle, sort stably by bucket, cut into
    batches of b that never span buckets, then permute the batches. b = 0: one batch of all.

    Args:
        buckets: for each example its bucket's place in the manifest.
    """
    stream = Stream(plan.seed, client_id, round_number, Purpose.SHUFFLE)
    return [_draw_epoch(buckets, plan.batch_size, stream) for _ in range(plan.local_epochs)]


def _draw_epoch(buckets: Sequence[int], batch_size: int, stream: Stream) -> list[list[int]]:
    order = stream.permutation(len(buckets))
    order.sort(key=lambda example: buckets[example])
    if not order or batch_size == 0:
        return [order] if order else []
    batches: list[list[int]] = []
    for example in order:
        last = batches[-1] if batches else []
        if last and len(last) < batch_size and buckets[last[0]] == buckets[example]:
            last.append(example)
        else:
            batches.append([example])
    return [batches[i] for i in stream.permutation(len(batches))]


def micro_batches(
    batch: Sequence[int], buckets: Sequence[int], manifest: TaskManifest
) -> list[tuple[Bucket, list[int]]]:
    """Cut one batch into calls of the program: one bucket and at most its B rows each."""
    calls: list[tuple[Bucket, list[int]]] = []
    for place in sorted({buckets[i] for i in batch}):
        bucket = manifest.buckets[place]
        members = [i for i in batch if buckets[i] == place]
        calls += [
            (bucket, members[start : start + bucket.batch])
            for start in range(0, len(members), bucket.batch)
        ]
    return calls

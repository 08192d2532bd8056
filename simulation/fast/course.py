"""What is drawn for a client's round before its first step: the same as on a phone.

`device_runtime.batches` and `.spec_augment` draw it; only the way to the examples is shorter here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedvoice.device_runtime.batches import (
    draw_epochs,
    draw_examples,
)
from fedvoice.device_runtime.optimizer import optimizer_state_bytes
from fedvoice.device_runtime.spec_augment import (
    MaskWords,
    draw_mask_words,
)
from fedvoice.protocol.cost import training_memory_bytes
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.random import (
    NORMAL_TABLE_SIZE,
    Purpose,
    Stream,
)
from fedvoice.protocol.task import TaskManifest
from fedvoice.simulation.clients import ClientData


@dataclass(frozen=True)
class ClientCourse:
    """One client's round.

    used: rows of `data` trained on; steps speak of places in this list. buckets: the place of each
    one's bucket. steps: (epoch, places of the batch). masks: uint32 [epochs, used, masks, 2] or
    None. noise_offsets: one a step, empty without FVN.
    """

    client_id: str
    data: ClientData
    used: list[int]
    buckets: list[int]
    steps: list[tuple[int, list[int]]]
    masks: MaskWords | None
    noise_offsets: list[int]
    skipped: int


def draw_client_course(
    manifest: TaskManifest, client_id: str, data: ClientData, plan: TrainingPlan, round_number: int
) -> ClientCourse:
    """Draw examples, batches, masks and noise of one client's round."""
    drawn = draw_examples(len(data), plan, client_id=client_id, round_number=round_number)
    used, buckets = fitting(manifest, data, drawn)
    epochs = draw_epochs(buckets, plan, client_id=client_id, round_number=round_number)
    steps = [(epoch, batch) for epoch, batches in enumerate(epochs) for batch in batches]
    masks = None
    if plan.spec_augment.time_masks + plan.spec_augment.frequency_masks:
        masks = draw_mask_words(plan, len(used), client_id=client_id, round_number=round_number)
    offsets: list[int] = []
    if plan.fvn_std > 0:
        words = Stream(plan.seed, client_id, round_number, Purpose.NOISE).words(len(steps))
        offsets = [(int(word) * NORMAL_TABLE_SIZE) >> 32 for word in words]
    return ClientCourse(
        client_id, data, used, buckets, steps, masks, offsets, len(drawn) - len(used)
    )


def fitting(
    manifest: TaskManifest, data: ClientData, drawn: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Those of the drawn examples that fit a bucket, and the place of each one's bucket."""
    stacked = -(-data.frames // manifest.features.stack)
    ends = np.array([(b.frames, b.labels) for b in manifest.buckets])
    fits = (stacked[:, None] <= ends[:, 0]) & (data.target_counts[:, None] <= ends[:, 1])
    places = np.where(np.any(fits, axis=1), fits.argmax(1), -1).tolist()
    used = [i for i in drawn if places[i] >= 0]
    return used, [places[i] for i in used]


def planned_memory_bytes(manifest: TaskManifest, plan: TrainingPlan, course: ClientCourse) -> int:
    """mu, as a phone plans it for this round."""
    weights_bytes = manifest.parameters.weights_bytes
    used = [manifest.buckets[place] for place in set(course.buckets)]
    # A batch that spans buckets or overfills one takes several calls, whose gradients add up.
    accumulates = any(
        len({course.buckets[i] for i in batch}) > 1
        or len(batch) > manifest.buckets[course.buckets[batch[0]]].batch
        for _, batch in course.steps
    )
    return training_memory_bytes(
        weights_bytes=weights_bytes,
        optimizer_state_bytes=optimizer_state_bytes(weights_bytes, plan, accumulates=accumulates),
        arena_bytes=max(bucket.step_arena_bytes for bucket in used),
    )

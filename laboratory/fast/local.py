"""A client's local training in eager PyTorch: the algorithm of `device_runtime.trainer`.

The same draws from the same streams (`device_runtime.batches`, `.spec_augment`), so that a phone
and its twin here come to the same update within rounding. What a phone needs and a simulation does
not is left out: checkpoints, conditions, polling.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from device_runtime.batches import draw_epochs, draw_examples
from device_runtime.layers import layers_of
from device_runtime.optimizer import bound_update, optimizer_state_bytes
from device_runtime.spec_augment import MaskWords, apply_masks, draw_mask_words
from laboratory.clients import ClientData
from laboratory.fast.flat_model import FlatModel
from laboratory.fast.optimizer import ClientSgd
from protocol.cost import training_memory_bytes
from protocol.generated import fedvoice_pb2 as pb
from protocol.parameters import FlatVector
from protocol.plan import SpecAugment, TrainingPlan
from protocol.random import NORMAL_TABLE_SIZE, Purpose, Stream
from protocol.task import TaskManifest

MOST_ROWS = 600
"""A larger batch is computed in parts, so that FedSGD on long speech fits in memory."""


@dataclass(frozen=True)
class LocalUpdate:
    """delta: weights after - before, float32 [P]; None if nothing was trained or it diverged."""

    delta: FlatVector | None
    statistics: pb.Statistics


def train_client(
    model: FlatModel,
    data: ClientData,
    plan: TrainingPlan,
    initial: Tensor,
    *,
    client_id: str,
    round_number: int,
) -> LocalUpdate:
    """Train `model` from `initial` [P] on a client's examples, as one round of a phone does."""
    began = time.monotonic()
    drawn = draw_examples(len(data), plan, client_id=client_id, round_number=round_number)
    used, buckets = fitting(model.manifest, data, drawn)
    skipped = len(drawn) - len(used)
    if not used:
        return LocalUpdate(None, pb.Statistics(skipped_examples=skipped))
    epochs = draw_epochs(buckets, plan, client_id=client_id, round_number=round_number)
    steps = [(epoch, batch) for epoch, batches in enumerate(epochs) for batch in batches]
    masks = _masks(plan, len(used), client_id, round_number)
    offsets = _noise_offsets(plan, len(steps), client_id, round_number)
    layers = layers_of(plan, model.manifest.parameters, initial.numpy())
    model.weights.copy_(initial)
    optimizer = ClientSgd(model.weights, model.gradient, initial, plan, layers)
    losses = []
    for step, (epoch, members) in enumerate(steps):
        optimizer.begin_step(offsets[step] if offsets else None)
        for start in range(0, len(members), MOST_ROWS):
            part = members[start : start + MOST_ROWS]
            rows = np.array([used[i] for i in part])
            words = None if masks is None else masks[epoch, part]
            batch = make_tensors(model.manifest, data, rows, plan.spec_augment, words)
            weight = torch.full((len(part),), 1.0 / len(members))
            losses.append(model.add_gradient(*batch, weight) * len(members))
        optimizer.end_step()
    delta = (model.weights - initial).numpy()
    loss = float(torch.stack(losses).sum()) / (plan.local_epochs * len(used))
    norm = bound_update(delta, plan, layers)
    statistics = pb.Statistics(
        examples=len(used),
        steps=len(steps),
        loss=loss,
        train_secs=time.monotonic() - began,
        planned_memory_bytes=planned_memory_bytes(
            model.manifest, plan, buckets, [batch for _, batch in steps]
        ),
        skipped_examples=skipped,
    )
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return LocalUpdate(None, statistics)
    return LocalUpdate(delta, statistics)


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


def make_tensors(
    manifest: TaskManifest,
    data: ClientData,
    rows: np.ndarray[tuple[int], np.dtype[np.int64]],
    policy: SpecAugment,
    words: MaskWords | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x [B, T, I], y [B, U], x_lens [B], y_lens [B], cut to the longest row of the batch."""
    stack = manifest.features.stack
    x_lens = -(-data.frames[rows] // stack)
    y_lens = data.target_counts[rows]
    longest = int(x_lens.max()) * stack
    features = data.features[rows, :longest]
    if words is not None:
        for row, (frames, own) in enumerate(zip(data.frames[rows], words, strict=True)):
            features[row, :frames] = apply_masks(features[row, :frames], policy, own)
    x = torch.from_numpy(features).reshape(len(rows), longest // stack, -1)
    y = torch.from_numpy(data.targets[rows, : max(1, int(y_lens.max()))])
    return x, y, torch.from_numpy(x_lens), torch.from_numpy(y_lens)


def planned_memory_bytes(
    manifest: TaskManifest,
    plan: TrainingPlan,
    buckets: Sequence[int],
    batches: Sequence[Sequence[int]],
) -> int:
    """mu, as a phone would plan it for these batches of examples."""
    weights_bytes = manifest.parameters.weights_bytes
    used = [manifest.buckets[place] for place in set(buckets)]
    # A batch that spans buckets or overfills one takes several calls, whose gradients add up.
    accumulates = any(
        len({buckets[i] for i in batch}) > 1
        or len(batch) > manifest.buckets[buckets[batch[0]]].batch
        for batch in batches
    )
    return training_memory_bytes(
        weights_bytes=weights_bytes,
        optimizer_state_bytes=optimizer_state_bytes(weights_bytes, plan, accumulates=accumulates),
        arena_bytes=max(bucket.step_arena_bytes for bucket in used),
    )


def _masks(plan: TrainingPlan, used: int, client_id: str, round_number: int) -> MaskWords | None:
    policy = plan.spec_augment
    if not policy.time_masks + policy.frequency_masks:
        return None
    return draw_mask_words(plan, used, client_id=client_id, round_number=round_number)


def _noise_offsets(
    plan: TrainingPlan, steps: int, client_id: str, round_number: int
) -> list[int] | None:
    if plan.fvn_std == 0:
        return None
    words = Stream(plan.seed, client_id, round_number, Purpose.NOISE).words(steps)
    return [(int(word) * NORMAL_TABLE_SIZE) >> 32 for word in words]

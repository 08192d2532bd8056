"""Local training of a group of clients in eager PyTorch: the algorithm of `device_runtime.trainer`.

The same draws and the same arithmetic, so that a phone and its twin here come to the same update
within rounding. What a phone needs and a simulation does not is left out: checkpoints, conditions,
polling. Clients of a group take their steps together; those that have fewer drop out earlier.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedvoice.device_runtime.layers import Layers, layers_of
from fedvoice.device_runtime.optimizer import bound_update
from fedvoice.device_runtime.spec_augment import MaskWords, apply_masks
from fedvoice.model_export.batch import TensorBatch
from fedvoice.protocol.engine import Int64Array
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector, Float32Array
from fedvoice.protocol.plan import SpecAugment, TrainingPlan
from fedvoice.protocol.task import TaskManifest
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.fast.course import ClientCourse, draw_client_course
from fedvoice.simulation.fast.models import GroupModel
from fedvoice.simulation.fast.optimizer import ClientSgd
from fedvoice.simulation.trainers import LocalUpdate

MOST_ROWS = 1024
"""A step with more rows is computed in parts, so that FedSGD on long speech fits in memory."""
MOST_SAMPLES = 1 << 23
"""Of the rows of waveforms that are computed at once."""


@dataclass(frozen=True)
class Rows:
    """What a batch takes of a client's data; its features are copied once, into the batch.

    rows: int64 [B]. masks: uint32 [B, masks, 2] or None. frame_counts (stacked frames),
    target_counts: int64 [B].
    """

    data: ClientData
    rows: Int64Array
    policy: SpecAugment
    masks: MaskWords | None
    frame_counts: Int64Array
    target_counts: Int64Array

    @property
    def frames(self) -> int:
        """Stacked frames of the longest row."""
        return int(self.frame_counts.max(initial=1))

    @property
    def labels(self) -> int:
        """Labels of the row that has most, one at least."""
        return max(1, int(self.target_counts.max(initial=1)))


def train_group(
    model: GroupModel,
    manifest: TaskManifest,
    clients: Sequence[tuple[str, ClientData]],
    plan: TrainingPlan,
    weights: FlatVector,
    round_number: int,
) -> list[LocalUpdate]:
    """One round of at most K clients from `weights` [P], as phones train; updates in order."""
    began = time.monotonic()
    drawn = [draw_client_course(manifest, who, data, plan, round_number) for who, data in clients]
    # Most steps first: those still at work are always the first ones.
    order = sorted(range(len(drawn)), key=lambda i: -len(drawn[i].steps))
    courses = [drawn[i] for i in order]
    initial = torch.from_numpy(weights)
    layers = layers_of(plan, manifest.parameters, weights)
    model.weights[: len(courses)] = initial
    losses = _train(model, manifest, courses, plan, initial, layers)
    secs = (time.monotonic() - began) / len(courses)
    updates: list[LocalUpdate] = [LocalUpdate(None, pb.Statistics())] * len(courses)
    for place, (course, loss) in enumerate(zip(courses, losses, strict=True)):
        delta = (model.weights[place] - initial).numpy()
        updates[order[place]] = _update(manifest, plan, course, layers, loss, delta, secs)
    return updates


def _train(
    model: GroupModel,
    manifest: TaskManifest,
    courses: Sequence[ClientCourse],
    plan: TrainingPlan,
    initial: Tensor,
    layers: Layers,
) -> list[float]:
    """All steps of all clients; the sum over examples and epochs of each client's losses."""
    optimizer = ClientSgd(model.weights, model.gradient, initial, plan, layers)
    sums = torch.zeros(len(courses), dtype=torch.float64)
    for step in range(len(courses[0].steps)):
        at_work = [course for course in courses if step < len(course.steps)]
        active = len(at_work)
        optimizer.begin_step([c.noise_offsets[step] for c in at_work if c.noise_offsets], active)
        batches = [course.steps[step] for course in at_work]
        longest = max(len(members) for _, members in batches)
        rows_a_call = max(1, most_rows(manifest, MOST_ROWS) // active)
        sizes = torch.tensor([len(members) for _, members in batches], dtype=torch.float64)
        for start in range(0, longest, rows_a_call):
            parts = [
                _rows(manifest, course, epoch, members[start : start + rows_a_call], plan)
                for course, (epoch, members) in zip(at_work, batches, strict=True)
            ]
            shares = 1.0 / sizes
            found = model.compute_gradients(stack_rows(manifest, parts, shares), add=start > 0)
            sums[:active] += found.to(torch.float64) * sizes
        optimizer.end_step(active)
    return sums.tolist()


def _update(
    manifest: TaskManifest,
    plan: TrainingPlan,
    course: ClientCourse,
    layers: Layers,
    loss_sum: float,
    delta: FlatVector,
    secs: float,
) -> LocalUpdate:
    if not course.used:
        return LocalUpdate(None, pb.Statistics(skipped_examples=course.skipped))
    loss = loss_sum / (plan.local_epochs * len(course.used))
    norm = bound_update(delta, plan, layers)
    statistics = pb.Statistics(
        examples=len(course.used),
        steps=len(course.steps),
        loss=loss,
        train_secs=secs,
        planned_memory_bytes=course.planned_memory_bytes(manifest, plan),
        skipped_examples=course.skipped,
    )
    good = math.isfinite(loss) and math.isfinite(norm)
    return LocalUpdate(delta if good else None, statistics)


def _rows(
    manifest: TaskManifest,
    course: ClientCourse,
    epoch: int,
    members: Sequence[int],
    plan: TrainingPlan,
) -> Rows:
    rows = np.array([course.used[i] for i in members], dtype=np.int64)
    masks = course.masks[epoch, members] if course.masks.size else None
    return take_rows(manifest, course.data, rows, plan.spec_augment, masks)


def take_rows(
    manifest: TaskManifest,
    data: ClientData,
    rows: Int64Array,
    policy: SpecAugment,
    masks: MaskWords | None,
) -> Rows:
    """Examples `rows`; `masks` uint32 [rows, masks, 2]."""
    frame_counts = -(-data.frames[rows] // manifest.features.stack)
    return Rows(data, rows, policy, masks, frame_counts, data.target_counts[rows])


def stack_rows(manifest: TaskManifest, parts: Sequence[Rows], weights: Tensor) -> TensorBatch:
    """Clients' rows padded to one size: a batch [A, B, ...].

    Args:
        weights: [A] of each client's rows in the loss.
    """
    batch = max(len(part.rows) for part in parts)
    frames = _padded(manifest, parts)
    labels = max(part.labels for part in parts)
    clients, stack, bins = len(parts), manifest.features.stack, manifest.features.mel_bins
    # Not zeros at once: fresh pages from the system for every batch cost more than the copies.
    features = torch.empty(clients, batch, frames, stack * bins)
    targets = np.zeros((clients, batch, labels), dtype=np.int64)
    # Rows that fill up are one frame long and say nothing: every loss takes that.
    x_lens = np.ones((clients, batch), dtype=np.int64)
    y_lens = np.zeros((clients, batch), dtype=np.int64)
    example_weights = torch.zeros(clients, batch)
    for i, part in enumerate(parts):
        rows = len(part.rows)
        _copy_features(part, features[i].numpy().reshape(batch, frames * stack, bins), stack)
        targets[i, :rows, : part.labels] = part.data.targets[part.rows, : part.labels]
        x_lens[i, :rows], y_lens[i, :rows] = part.frame_counts, part.target_counts
        example_weights[i, :rows] = weights[i]
    lengths = torch.from_numpy(x_lens), torch.from_numpy(y_lens)
    return TensorBatch(features, torch.from_numpy(targets), *lengths, example_weights)


def most_rows(manifest: TaskManifest, rows: int) -> int:
    """`rows`, or fewer of long waveforms, which take more memory than log-mel."""
    if not manifest.features.is_waveform:
        return rows
    longest = max(bucket.frames for bucket in manifest.buckets)
    return max(1, min(rows, MOST_SAMPLES // longest))


def _padded(manifest: TaskManifest, parts: Sequence[Rows]) -> int:
    """Frames of a batch: those of the longest row. Waveforms are padded to a bucket, as on a phone:
    a row may be shorter than a module's kernels, and some modules normalise over the padding."""
    frames = max(part.frames for part in parts)
    if not manifest.features.is_waveform:
        return frames
    bucket = manifest.bucket_for(frames, max(part.labels for part in parts))
    return bucket.frames if bucket is not None else frames


def _copy_features(part: Rows, out: Float32Array, stack: int) -> None:
    """All of `out` [B, T * stack, bins]: the rows, masked; zeros beyond them."""
    rows, frames = len(part.rows), part.frames * stack
    out[:rows, :frames] = part.data.features[part.rows, :frames]
    out[:rows, frames:] = 0
    out[rows:] = 0
    if part.masks is not None:
        for own, length, words in zip(out, part.data.frames[part.rows], part.masks, strict=False):
            own[:length] = apply_masks(own[:length], part.policy, words)

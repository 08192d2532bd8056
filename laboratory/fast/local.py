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

from device_runtime.layers import Layers, layers_of
from device_runtime.optimizer import bound_update
from device_runtime.spec_augment import MaskWords, apply_masks
from laboratory.clients import ClientData
from laboratory.fast.course import ClientCourse, draw_client_course, planned_memory_bytes
from laboratory.fast.models import GroupModel
from laboratory.fast.optimizer import ClientSgd
from laboratory.trainers import LocalUpdate
from protocol.engine import Int64Array
from protocol.generated import fedvoice_pb2 as pb
from protocol.parameters import FlatVector, Float32Array
from protocol.plan import SpecAugment, TrainingPlan
from protocol.task import TaskManifest

MOST_ROWS = 1024
"""A step with more rows is computed in parts, so that FedSGD on long speech fits in memory."""


@dataclass(frozen=True)
class Rows:
    """Rows of a batch as arrays: features [B, T * stack, bins], targets [B, U], lengths [B]."""

    features: Float32Array
    targets: Int64Array
    frame_counts: Int64Array
    target_counts: Int64Array


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
        rows_a_call = max(1, MOST_ROWS // active)
        sizes = torch.tensor([len(members) for _, members in batches], dtype=torch.float64)
        for start in range(0, longest, rows_a_call):
            parts = [
                _rows(manifest, course, epoch, members[start : start + rows_a_call], plan)
                for course, (epoch, members) in zip(at_work, batches, strict=True)
            ]
            shares = 1.0 / sizes
            found = model.compute_gradients(*stack_rows(manifest, parts, shares), add=start > 0)
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
        planned_memory_bytes=planned_memory_bytes(manifest, plan, course),
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
    masks = None if course.masks is None else course.masks[epoch, members]
    return take_rows(manifest, course.data, rows, plan.spec_augment, masks)


def take_rows(
    manifest: TaskManifest,
    data: ClientData,
    rows: Int64Array,
    policy: SpecAugment,
    masks: MaskWords | None,
) -> Rows:
    """Examples `rows`, cut to the longest of them; `masks` uint32 [rows, masks, 2]."""
    stack = manifest.features.stack
    frame_counts = -(-data.frames[rows] // stack)
    target_counts = data.target_counts[rows]
    features = data.features[rows, : int(frame_counts.max(initial=1)) * stack]
    if masks is not None:
        for row, (frames, own) in enumerate(zip(data.frames[rows], masks, strict=True)):
            features[row, :frames] = apply_masks(features[row, :frames], policy, own)
    targets = data.targets[rows, : max(1, int(target_counts.max(initial=1)))]
    return Rows(features, targets, frame_counts, target_counts)


def stack_rows(
    manifest: TaskManifest, parts: Sequence[Rows], weights: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Inputs of `GroupModel.compute_gradients`: clients' rows padded to one size.

    Args:
        weights: [A] of each client's rows in the loss.
    """
    batch = max(len(part.frame_counts) for part in parts)
    frames = max(part.features.shape[1] for part in parts)
    labels = max(part.targets.shape[1] for part in parts)
    clients, bins = len(parts), manifest.features.mel_bins
    features = np.zeros((clients, batch, frames, bins), dtype=np.float32)
    targets = np.zeros((clients, batch, labels), dtype=np.int64)
    # Rows that fill up are one frame long and say nothing: every loss takes that.
    x_lens = np.ones((clients, batch), dtype=np.int64)
    y_lens = np.zeros((clients, batch), dtype=np.int64)
    example_weights = torch.zeros(clients, batch)
    for i, part in enumerate(parts):
        rows = len(part.frame_counts)
        features[i, :rows, : part.features.shape[1]] = part.features
        targets[i, :rows, : part.targets.shape[1]] = part.targets
        x_lens[i, :rows], y_lens[i, :rows] = part.frame_counts, part.target_counts
        example_weights[i, :rows] = weights[i]
    stack = manifest.features.stack
    x = torch.from_numpy(features).view(clients, batch, frames // stack, stack * bins)
    lengths = torch.from_numpy(x_lens), torch.from_numpy(y_lens)
    return x, torch.from_numpy(targets), *lengths, example_weights

"""Local training on one phone: e epochs over at most L examples, from weights to a delta.

Deterministic: plan, weights, examples, client and round decide every bit of the result, whether
or not training was interrupted and resumed in between.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from fedvoice.algorithm.client_rules import PlannedRule
from fedvoice.device_runtime.batches import micro_batches
from fedvoice.device_runtime.checkpoint import Checkpoint, checkpoint_key
from fedvoice.device_runtime.course import Course, draw_course
from fedvoice.device_runtime.flat import add_scaled
from fedvoice.device_runtime.layers import layers_of
from fedvoice.device_runtime.memory import PeakMemory
from fedvoice.device_runtime.optimizer import (
    ClientState,
    adjust_gradient,
    bound_update,
    noisy_weights,
    rule_step,
    sgd_step,
)
from fedvoice.device_runtime.spec_augment import apply_masks
from fedvoice.protocol.engine import Engine, Example, make_batch
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.random import read_table, uniform_table


class TrainingStatus(StrEnum):
    """How local training ended."""

    COMPLETED = "completed"
    STOPPED = "stopped"  # should_stop said so; the checkpoint holds the progress
    DIVERGED = "diverged"  # a loss, gradient or weight was NaN or infinite: no update
    NO_EXAMPLES = "no-examples"


@dataclass(frozen=True)
class LocalResult:
    """What training gives.

    delta: weights after - before, float32 [P]; None unless completed.
    statistics: as far as training came.
    used: indices of the examples trained on.
    """

    status: TrainingStatus
    delta: FlatVector | None
    statistics: pb.Statistics
    used: tuple[int, ...] = ()
    detail: str = ""


def train(
    engine: Engine,
    examples: Sequence[Example],
    plan: TrainingPlan,
    initial: FlatVector,
    *,
    client_id: str,
    round_number: int,
    checkpoint: Checkpoint | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    memory_baseline_bytes: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> LocalResult:
    """Train from `initial` and return the delta.

    Args:
        examples: the phone's own; may load them one by one when indexed. One that raises an
            error of `course.UNUSABLE`, or fits no bucket, is skipped and counted.
        initial: float32 [P]; not changed.
        checkpoint: where to keep progress and to resume from; None: nowhere.
        should_stop: polled before every step.
        memory_baseline_bytes: resident set before the engine was loaded; None: as of now.

    Raises:
        FedvoiceError: `wrong-shape` if `initial` is not of the engine's task; `bad-config` if
            the plan trains parameters that the task has not, or if its client rule does not take
            its options; `bad-plugin` if that rule cannot be had or fails.
    """
    manifest = engine.manifest
    manifest.parameters.check(initial, "initial weights")
    layers = layers_of(plan, manifest.parameters, initial)
    rule = PlannedRule.of(plan)
    memory = PeakMemory(memory_baseline_bytes)
    course = draw_course(manifest, examples, plan, client_id=client_id, round_number=round_number)
    if not course.used:
        statistics = pb.Statistics(skipped_examples=course.skipped)
        return LocalResult(TrainingStatus.NO_EXAMPLES, None, statistics, detail="no usable example")

    key = ""
    state = None
    if checkpoint is not None:
        key = checkpoint_key(
            plan,
            initial,
            course.sizes,
            program_digest=manifest.program_digest,
            client_id=client_id,
            round_number=round_number,
        )
        state = checkpoint.load(key)
    state = state or ClientState.start(initial, plan, rule)
    noisy = np.empty_like(initial) if plan.fvn_std > 0 else None

    status, detail = TrainingStatus.COMPLETED, ""
    for epoch, members in course.steps[state.steps :]:
        if should_stop():
            status, detail = TrainingStatus.STOPPED, f"after {state.steps} steps"
            break
        started = clock()
        point = state.weights
        if noisy is not None:
            offset = course.noise_offsets[state.steps]
            point = noisy_weights(state.weights, plan, layers, offset, noisy)
        draw_offset = course.draw_offsets[state.steps] if course.draw_offsets else 0
        loss, gradient = _batch_gradient(
            engine, examples, course, plan, epoch, members, point, draw_offset
        )
        gradient_norm = adjust_gradient(gradient, state.weights, initial, plan, layers)
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            status = TrainingStatus.DIVERGED
            detail = f"loss {loss}, gradient norm {gradient_norm} at step {state.steps}"
            break
        if rule is None:
            sgd_step(state, gradient, gradient_norm, plan)
        else:
            rule_step(state, gradient, gradient_norm, plan, rule, layers)
        state.loss_sum += loss * len(members)
        state.examples_seen += len(members)
        state.train_secs += clock() - started
        memory.sample()
        if checkpoint is not None and checkpoint.due() and state.steps < len(course.steps):
            checkpoint.save(key, state)

    delta = None
    if status is TrainingStatus.COMPLETED:
        delta = state.weights - initial
        delta_norm = bound_update(delta, plan, layers)
        if not math.isfinite(delta_norm):
            status, delta, detail = TrainingStatus.DIVERGED, None, f"delta norm {delta_norm}"
    state = replace(state, peak_memory_bytes=max(state.peak_memory_bytes, memory.growth_bytes()))
    if checkpoint is not None and status is TrainingStatus.STOPPED:
        checkpoint.save(key, state)
    statistics = _statistics(engine, course, plan, state)
    return LocalResult(status, delta, statistics, tuple(course.used), detail)


def _batch_gradient(
    engine: Engine,
    examples: Sequence[Example],
    course: Course,
    plan: TrainingPlan,
    epoch: int,
    members: Sequence[int],
    weights: FlatVector,
    draw_offset: int,
) -> tuple[float, FlatVector]:
    """Mean loss over a batch and its gradient [P], from as many calls as the batch needs."""
    total_loss = 0.0
    total: FlatVector | None = None
    calls = micro_batches(members, course.buckets, engine.manifest)
    for bucket, rows in calls:
        loaded = [examples[course.used[i]] for i in rows]
        masked = [
            Example(apply_masks(e.features, plan.spec_augment, course.masks[epoch, i]), e.targets)
            for e, i in zip(loaded, rows, strict=True)
        ]
        batch = make_batch(masked, bucket, engine.manifest, weight=1.0 / len(members))
        if bucket.draws:
            draws = np.empty(bucket.draws, dtype=np.float32)
            batch = replace(batch, draws=read_table(uniform_table(plan.seed), draw_offset, draws))
            draw_offset += bucket.draws
        loss, gradient = engine.step(bucket, weights, batch)
        total_loss += loss
        if len(calls) == 1:
            return total_loss, gradient
        if total is None:
            total = gradient.copy()
        else:
            add_scaled(total, gradient, 1.0)
    assert total is not None, "a batch has at least one example"
    return total_loss, total


def _statistics(
    engine: Engine, course: Course, plan: TrainingPlan, state: ClientState
) -> pb.Statistics:
    return pb.Statistics(
        examples=len(course.used),
        steps=state.steps,
        loss=state.loss_sum / max(1, state.examples_seen),
        train_secs=state.train_secs,
        peak_memory_bytes=state.peak_memory_bytes,
        planned_memory_bytes=course.planned_memory_bytes(engine.manifest, plan),
        skipped_examples=course.skipped,
    )

"""Central training: all clients' examples in one place, shuffled, with Adam. What federated
training is held against.

A row of its results is an epoch; nothing is communicated, and mu counts Adam's two vectors.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from android_harness.results import RoundResult
from device_runtime.spec_augment import draw_mask_words
from laboratory.clients import ClientData, Population
from laboratory.experiment.cells import CentralConfig
from laboratory.fast.course import fitting
from laboratory.fast.local import stack_rows, take_rows
from laboratory.fast.models import OneModel
from laboratory.federation import Evaluate, FederationState
from protocol.cost import Cfmq, training_memory_bytes
from protocol.engine import Int64Array
from protocol.parameters import FlatVector
from protocol.plan import TrainingPlan
from protocol.task import TaskManifest
from server.optimizers import OptimizerState


@dataclass(frozen=True)
class CentralRun:
    """One central training. `plan.seed` decides shuffling and masks."""

    manifest: TaskManifest
    population: Population
    plan: TrainingPlan
    config: CentralConfig
    evaluate: Evaluate

    def epochs(self, weights: FlatVector) -> Iterator[FederationState]:
        """The state after each epoch, from `weights` float32 [P]."""
        model = OneModel(self.manifest)
        model.weights[0].copy_(torch.from_numpy(weights))
        flat = torch.nn.Parameter(model.weights)  # the same memory
        flat.grad = model.gradient
        settings = self.manifest.features
        everybody = (self.population.train(who) for who in self.population.client_ids)
        examples = [example for own in everybody for example in own]
        data = ClientData.collate(examples, settings.stack, settings.mel_bins)
        usable = np.array(fitting(self.manifest, data, range(len(data)))[0], dtype=np.int64)
        batch = self.plan.batch_size or len(usable)
        steps = -(-len(usable) // batch)
        optimizer = torch.optim.Adam([flat], lr=self.config.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps * self.config.epochs)
        state = FederationState(weights, OptimizerState())
        for epoch in range(1, self.config.epochs + 1):
            began = time.monotonic()
            order = usable[np.random.default_rng([self.plan.seed, epoch]).permutation(len(usable))]
            losses = 0.0
            for step in range(steps):
                rows = order[step * batch : (step + 1) * batch]
                losses += len(rows) * self._gradient(model, data, rows, epoch * steps + step)
                torch.nn.utils.clip_grad_norm_([flat], self.plan.clip_norm or math.inf)
                optimizer.step()
                schedule.step()
            state = self._booked(state, model, epoch, len(usable), steps, losses, began)
            yield state

    def _gradient(self, model: OneModel, data: ClientData, rows: Int64Array, number: int) -> float:
        """Put a batch's gradient into the model; its mean loss. `number` names the masks."""
        policy, masks = self.plan.spec_augment, None
        if policy.time_masks + policy.frequency_masks:
            plan = self.plan.model_copy(update={"local_epochs": 1})
            words = draw_mask_words(plan, len(rows), client_id="central", round_number=number)
            masks = words[0]
        taken = take_rows(self.manifest, data, rows, policy, masks)
        inputs = stack_rows(self.manifest, [taken], torch.tensor([1.0 / len(rows)]))
        return float(model.compute_gradients(*inputs, add=False))

    def _booked(
        self,
        state: FederationState,
        model: OneModel,
        epoch: int,
        examples: int,
        steps: int,
        losses: float,
        began: float,
    ) -> FederationState:
        weights = model.weights[0].numpy().copy()
        weights_bytes = self.manifest.parameters.weights_bytes
        memory_bytes = training_memory_bytes(
            weights_bytes=weights_bytes,
            optimizer_state_bytes=2 * weights_bytes,
            arena_bytes=max(bucket.step_arena_bytes for bucket in self.manifest.buckets),
        )
        cost = Cfmq(0.0, state.cost.computation_bytes + float(steps * memory_bytes))
        row = RoundResult(
            round=epoch,
            loss=losses / examples if math.isfinite(losses) else None,
            wer=None,
            heldout_wer=None,
            clients=1,
            examples=examples,
            steps=steps,
            bytes_down=0,
            bytes_up=0,
            cfmq_communication_bytes=0.0,
            cfmq_compute_bytes=cost.computation_bytes,
            wall_secs=time.monotonic() - began,
            memory_bytes=memory_bytes,
            analytic_cfmq_bytes=cost.computation_bytes,
            end="central",
        )
        state = replace(
            state, weights=weights, number=epoch, rows=(*state.rows, row), cost=cost, analytic=cost
        )
        if epoch % self.config.evaluate_every and epoch != self.config.epochs:
            return state
        found = self.evaluate(weights)
        rates = {name: errors.percent for name, errors in found.items()}
        row = replace(row, wer=rates.get("wer"), heldout_wer=rates.get("heldout_wer"))
        return replace(
            state,
            rows=(*state.rows[:-1], row),
            evaluations={**state.evaluations, epoch: found},
        )

"""Central training: all clients' examples in one place, shuffled, with Adam. The baseline of
federated training.

A row of its results is an epoch. Nothing is communicated, and mu counts Adam's two vectors. Its
state is a `FederationState` whose server-optimiser slots hold Adam's vectors.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from fedvoice.algorithm import books
from fedvoice.algorithm.federated import AlgorithmState
from fedvoice.algorithm.optimizers import OptimizerState
from fedvoice.device_runtime.spec_augment import draw_mask_words
from fedvoice.protocol.cost import training_memory_bytes
from fedvoice.protocol.engine import Int64Array
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.features import check_masks
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import TaskManifest
from fedvoice.simulation.clients import ClientData, Population
from fedvoice.simulation.fast.course import fitting
from fedvoice.simulation.fast.local import stack_rows, take_rows
from fedvoice.simulation.fast.models import OneModel
from fedvoice.simulation.federation import Evaluate, FederationState, evaluated, result_of
from fedvoice.simulation.settings import CentralConfig


@dataclass(frozen=True)
class CentralRun:
    """One central training. `plan.seed` decides shuffling and masks; `alpha` is the weight of
    memory x steps in CFMQ, as for federations."""

    manifest: TaskManifest
    population: Population
    plan: TrainingPlan
    config: CentralConfig
    evaluate: Evaluate
    alpha: float = 1.0

    @property
    def rounds(self) -> int:
        """Number of epochs, counted as rounds."""
        return self.config.epochs

    def start(self, weights: FlatVector) -> FederationState:
        """Before the first epoch, at `weights` float32 [P].

        Raises:
            FedvoiceError: `bad-config` for a plan that masks waveforms.
        """
        check_masks(self.manifest.features, self.plan)
        return FederationState(AlgorithmState(weights, OptimizerState()))

    def step(self, state: FederationState) -> FederationState:
        """The state after one more epoch: reshuffled, Adam's rate decayed by a cosine.

        Raises:
            FedvoiceError: `bad-config` if no example can be used.
        """
        began = time.monotonic()
        model, epoch = OneModel(self.manifest), state.number + 1
        model.weights[0].copy_(torch.from_numpy(state.weights))
        flat = torch.nn.Parameter(model.weights)  # the same memory
        flat.grad = model.gradient
        examples = len(self._usable)
        batch = self.plan.batch_size or examples
        steps = -(-examples // batch)
        adam = torch.optim.Adam([flat])
        _restore(adam, flat, state.optimizer, state.number * steps)
        draw = np.random.default_rng([self.plan.seed, epoch])
        order = self._usable[draw.permutation(examples)]
        losses = 0.0
        for step in range(steps):
            rows = order[step * batch : (step + 1) * batch]
            losses += len(rows) * self._gradient(model, rows, epoch * steps + step)
            torch.nn.utils.clip_grad_norm_([flat], self.plan.clip_norm or math.inf)
            done = (state.number * steps + step) / (steps * self.config.epochs)
            adam.param_groups[0]["lr"] = self.config.rate * (1 + math.cos(math.pi * done)) / 2
            adam.step()
        weights = model.weights[0].numpy().copy()
        after = AlgorithmState(weights, _vectors(adam, flat), epoch, state.algorithm.costs)
        state = self._booked(state, after, examples, steps, losses, began)
        wanted = epoch % self.config.evaluate_every == 0 or epoch == self.config.epochs
        return self.finish(state) if wanted else state

    def finish(self, state: FederationState) -> FederationState:
        """See `Training`."""
        return evaluated(state, self.evaluate)

    @cached_property
    def _data(self) -> ClientData:
        settings = self.manifest.features
        everybody = (self.population.train(who) for who in self.population.client_ids)
        examples = [example for own in everybody for example in own]
        return ClientData.collate(examples, settings.stack, settings.mel_bins)

    @cached_property
    def _usable(self) -> Int64Array:
        used, _ = fitting(self.manifest, self._data, range(len(self._data)))
        if not used:
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where="central training",
                got=f"none of {len(self._data)} examples fits a bucket of the task",
                wanted="at least one example",
                next_step="Give the task the corpus's vocabulary, and buckets of its lengths.",
            )
        return np.array(used, dtype=np.int64)

    def _gradient(self, model: OneModel, rows: Int64Array, number: int) -> float:
        """The mean loss of a batch; leaves its gradient in the model. `number` seeds the masks."""
        policy, masks = self.plan.spec_augment, None
        if policy.time_masks + policy.frequency_masks:
            plan = self.plan.model_copy(update={"local_epochs": 1})
            words = draw_mask_words(plan, len(rows), client_id="central", round_number=number)
            masks = words[0]
        taken = take_rows(self.manifest, self._data, rows, policy, masks)
        batch = stack_rows(self.manifest, [taken], torch.tensor([1.0 / len(rows)]))
        return float(model.compute_gradients(batch, add=False))

    def _booked(
        self,
        state: FederationState,
        after: AlgorithmState,
        examples: int,
        steps: int,
        losses: float,
        began: float,
    ) -> FederationState:
        weights_bytes = self.manifest.parameters.weights_bytes
        memory_bytes = training_memory_bytes(
            weights_bytes=weights_bytes,
            optimizer_state_bytes=2 * weights_bytes,
            arena_bytes=max(bucket.step_arena_bytes for bucket in self.manifest.buckets),
            frozen_bytes=self.manifest.frozen_bytes,
        )
        counts = pb.Statistics(
            examples=examples,
            steps=steps,
            loss=losses / examples,
            planned_memory_bytes=memory_bytes,
        )
        account = books.account(
            after.costs, [counts], bytes_down=0, bytes_up=0, alpha=self.alpha, formula=None
        )
        row = replace(
            result_of(account, after.number, "central", began),
            loss=losses / examples if math.isfinite(losses) else None,
        )
        after = replace(after, costs=account.costs)
        return replace(state, algorithm=after, rows=(*state.rows, row))


def _restore(
    adam: torch.optim.Adam, flat: torch.nn.Parameter, slots: OptimizerState, steps: int
) -> None:
    """Resume after `steps` steps from the vectors that `_vectors` returned."""
    if steps:
        adam.state[flat] = {
            "step": torch.tensor(float(steps)),
            "exp_avg": torch.from_numpy(slots.slots["first"].copy())[None],
            "exp_avg_sq": torch.from_numpy(slots.slots["second"].copy())[None],
        }


def _vectors(adam: torch.optim.Adam, flat: torch.nn.Parameter) -> OptimizerState:
    moments = adam.state[flat]
    first, second = (moments[name][0].numpy() for name in ("exp_avg", "exp_avg_sq"))
    return OptimizerState({"first": first, "second": second})

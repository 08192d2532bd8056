"""The fast engine as a `simulation.trainers.Trainer`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import SpecAugment, TrainingPlan
from fedvoice.protocol.task import TaskManifest
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.fast.course import fitting
from fedvoice.simulation.fast.local import most_rows, stack_rows, take_rows, train_group
from fedvoice.simulation.fast.models import GroupModel, OneModel, best_group, group_model, has_many
from fedvoice.simulation.trainers import LocalUpdate

TRANSCRIBED_ROWS = 256


class FastTrainer:
    """Trains clients in groups, where the model has a batched form.

    Args:
        clients_together: largest group; 1: one after the other; None: `best_group`.
        frozen: `TaskPackage.frozen_path`.
    """

    def __init__(
        self,
        manifest: TaskManifest,
        clients_together: int | None = None,
        frozen: Path | None = None,
    ) -> None:
        self._manifest, self._frozen = manifest, frozen
        self._one = OneModel(manifest, frozen)
        if clients_together is None:
            clients_together = best_group(manifest)
        self._together = clients_together if has_many(manifest) else 1
        self._many: GroupModel | None = None

    def train(
        self,
        clients: Sequence[tuple[str, ClientData]],
        plan: TrainingPlan,
        weights: FlatVector,
        round_number: int,
    ) -> Iterator[LocalUpdate]:
        """See `Trainer`."""
        for start in range(0, len(clients), self._together):
            group = clients[start : start + self._together]
            model = self._group_model(len(group))
            yield from train_group(model, self._manifest, group, plan, weights, round_number)

    @property
    def clients_together(self) -> int:
        """See `Trainer`."""
        return self._together

    def transcribe(self, data: ClientData, weights: FlatVector) -> list[list[int]]:
        """See `Trainer`."""
        self._one.weights[0].copy_(torch.from_numpy(weights))
        used, _ = fitting(self._manifest, data, range(len(data)))
        used.sort(key=lambda row: int(data.frames[row]))  # little padding
        found: list[list[int]] = [[] for _ in range(len(data))]
        most = most_rows(self._manifest, TRANSCRIBED_ROWS)
        for start in range(0, len(used), most):
            rows = np.array(used[start : start + most], dtype=np.int64)
            taken = take_rows(self._manifest, data, rows, SpecAugment(), None)
            batch = stack_rows(self._manifest, [taken], torch.ones(1)).of(0)
            tokens = self._one.transcribe(batch.features, batch.frame_counts)
            for row, ids in zip(rows, tokens, strict=True):
                found[row] = ids
        return found

    def _group_model(self, clients: int) -> GroupModel:
        if clients == 1:
            return self._one
        if self._many is None or len(self._many.weights) < clients:
            self._many = group_model(self._manifest, clients, self._frozen)
        return self._many

"""The fast engine as a `laboratory.trainers.Trainer`."""

from __future__ import annotations

import numpy as np
import torch

from laboratory.clients import ClientData
from laboratory.fast.flat_model import FlatModel
from laboratory.fast.local import LocalUpdate, fitting, make_tensors, train_client
from protocol.parameters import FlatVector
from protocol.plan import SpecAugment, TrainingPlan
from protocol.task import TaskManifest

TRANSCRIBED_ROWS = 256


class FastTrainer:
    """One eager model that all clients of a process take in turn."""

    def __init__(self, manifest: TaskManifest) -> None:
        self._model = FlatModel(manifest)
        self._manifest = manifest

    def train(
        self,
        data: ClientData,
        plan: TrainingPlan,
        weights: FlatVector,
        *,
        client_id: str,
        round_number: int,
    ) -> LocalUpdate:
        """See `Trainer`."""
        initial = torch.from_numpy(weights)
        return train_client(
            self._model, data, plan, initial, client_id=client_id, round_number=round_number
        )

    def transcribe(self, data: ClientData, weights: FlatVector) -> list[list[int]]:
        """See `Trainer`."""
        self._model.weights.copy_(torch.from_numpy(weights))
        used, _ = fitting(self._manifest, data, range(len(data)))
        used.sort(key=lambda row: int(data.frames[row]))  # little padding
        found: list[list[int]] = [[] for _ in range(len(data))]
        for start in range(0, len(used), TRANSCRIBED_ROWS):
            rows = np.array(used[start : start + TRANSCRIBED_ROWS])
            x, _, x_lens, _ = make_tensors(self._manifest, data, rows, SpecAugment(), None)
            for row, tokens in zip(rows, self._model.transcribe(x, x_lens), strict=True):
                found[row] = tokens
        return found

"""The two sides of `simulation_overhead`: a federation, and a plain loop over the same batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.config import parse_config
from fedvoice.model_export.kinds import build_model
from fedvoice.model_export.models.loss import loss_of
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.server.config import ServerConfig
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.fast.trainer import FastTrainer
from fedvoice.simulation.federation import Federation
from fedvoice.simulation.tasks import unexported_task
from fedvoice.simulation.workers.pool import InlinePool

RATE = 0.01
CLIENTS_KNOWN = 100

TASKS: Mapping[str, dict[str, Any]] = {
    # The 2NN of McMahan et al. 2016: 28 rows of 28 bins are one frame; 199,210 parameters.
    "mlp": {
        "model": {"kind": "2nn", "hidden_size": 200},
        "features": {"mel_bins": 28, "stack": 28},
        "vocabulary": {"tokens": [f"{i}" for i in range(10)], "as_given": True},
        "buckets": [{"frames": 1, "labels": 1}],
    },
    # An LSTM with CTC over two seconds of speech (25 frames of 8 x 40 bins); 233,472 + 3,870.
    "lstm": {
        "model": {"kind": "ctc", "encoder": {"layers": 1, "hidden_size": 128}},
        "features": {"mel_bins": 40, "stack": 8},
        "vocabulary": {"tokens": [chr(97 + i) for i in range(26)], "as_given": True},
        "buckets": [{"frames": 25, "labels": 8}],
    },
}


class Scene:
    """Clients with as many examples as `steps` batches of `batch` take."""

    def __init__(self, model: str, clients: int, steps: int, batch: int) -> None:
        torch.set_num_threads(1)
        self._clients, self._batch = clients, batch
        fields = TASKS[model]
        buckets = [{**bucket, "batch": batch} for bucket in fields["buckets"]]
        export = parse_config({"name": model, **fields, "buckets": buckets}, "the benchmark")
        self._task = unexported_task(export)
        self._data = self._draw(steps * batch)
        self.client_ids = [f"client{i:03d}" for i in range(CLIENTS_KNOWN)]
        self.evaluation: Mapping[str, list[ClientData]] = {}

    @property
    def parameters(self) -> int:
        """Of the model."""
        return self._task.manifest.parameters.parameter_count

    def train(self, client_id: str) -> ClientData:
        """The population's part: all clients hold the same."""
        return self._data

    def size(self, client_id: str) -> int:
        """See `simulation.clients.Population`."""
        return len(self._data)

    def federation(self, clients_together: int | None = None) -> Federation:
        """Rounds of `clients` out of 100; nothing is evaluated."""
        manifest = self._task.manifest
        together = {} if clients_together is None else {"clients_together": clients_together}
        plan = TrainingPlan(batch_size=self._batch, client_rate=RATE, clip_norm=0.0)
        config = ServerConfig(
            rounds=1000, cohort_size=self._clients, evaluate_every=0, evaluate_first=False
        )
        pool = InlinePool(FastTrainer(manifest, **together), self)
        return Federation(
            "overhead", manifest, self.client_ids, plan, config, pool, lambda weights: {}, self.size
        )

    def rounds_of(self, federation: Federation) -> Callable[[], None]:
        """Runs one more round at each call."""
        state = federation.start(self._task.initial_weights(seed=0))

        def one_more() -> None:
            nonlocal state
            state = federation.step(state)
            row = state.rows[-1]
            assert (row.clients, row.examples) == (self._clients, self._clients * len(self._data))

        return one_more

    def plain_round(self) -> None:
        """The steps of one round's clients, one after the other."""
        for _ in range(self._clients):
            self.plain_client()

    def plain_client(self) -> None:
        """One client's steps as a plain PyTorch loop."""
        for batch in self._batches:
            self._optimiser.zero_grad()
            loss_of(self._model, batch).backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()

    @cached_property
    def _model(self) -> Any:
        manifest = self._task.manifest
        features = manifest.features
        return build_model(
            self._task.export.model, features.stack * features.mel_bins, manifest.vocabulary.size
        )

    @cached_property
    def _optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self._model.parameters(), lr=RATE)

    @cached_property
    def _batches(self) -> list[TensorBatch]:
        """Ready batches in a fixed order."""
        stack, data = self._task.manifest.features.stack, self._data
        frames = torch.from_numpy(data.frames) // stack
        x = torch.from_numpy(data.features).view(len(data), int(frames.max()), -1)
        targets, counts = torch.from_numpy(data.targets), torch.from_numpy(data.target_counts)
        weights = torch.full((self._batch,), 1 / self._batch)
        starts = range(0, len(data), self._batch)
        parts = [slice(start, start + self._batch) for start in starts]
        return [TensorBatch(x[p], targets[p], frames[p], counts[p], weights) for p in parts]

    def _draw(self, examples: int) -> ClientData:
        """Full-length examples of random numbers."""
        manifest, random = self._task.manifest, np.random.default_rng(0)
        (bucket,) = manifest.buckets
        frames = bucket.frames * manifest.features.stack
        shape = (examples, frames, manifest.features.mel_bins)
        classes = manifest.vocabulary.size
        return ClientData(
            features=random.normal(size=shape).astype(np.float32),
            frames=np.full(examples, frames, dtype=np.int64),
            targets=random.integers(1, classes, size=(examples, bucket.labels)),
            target_counts=np.full(examples, bucket.labels, dtype=np.int64),
        )

"""A population of a few numbers that any process can make, and one round's work on it."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedvoice.model_export.config import parse_config
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.server.config import ServerConfig
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.cohort import RoundWork, UpdateLimits
from fedvoice.simulation.engines import TrainerSpec
from fedvoice.simulation.settings import EngineKind
from fedvoice.simulation.tasks import unexported_task
from fedvoice.simulation.workers.pool import InlinePool, WorkerSpec

CLIENTS = [f"client{i:02d}" for i in range(21)]  # two groups of eight and a rest


def two_layer_task():
    """A 2NN of 4 inputs and 3 hidden units: 44 parameters."""
    return unexported_task(
        parse_config(
            {
                "name": "tiny",
                "model": {"kind": "2nn", "hidden_size": 3},
                "features": {"mel_bins": 4, "stack": 1},
                "vocabulary": {"tokens": ["no", "yes"]},
                "buckets": [{"frames": 1, "labels": 1, "batch": 4}],
            },
            "the test",
        )
    )


@dataclass
class Numbers:
    """Clients with 3 to 9 rows of 4 numbers each. `mishap`: what happens at a client, once."""

    mishap: str = ""
    at: str = ""
    marker: Path | None = None
    """There once the mishap has happened."""

    client_ids = CLIENTS
    evaluation = ()

    def train(self, client_id: str) -> ClientData:
        if client_id == self.at:
            self._mishap()
        random = np.random.default_rng(CLIENTS.index(client_id))
        rows = 3 + CLIENTS.index(client_id) % 7
        return ClientData(
            features=random.normal(size=(rows, 1, 4)).astype(np.float32),
            frames=np.ones(rows, dtype=np.int64),
            targets=random.integers(1, 3, size=(rows, 1)),
            target_counts=np.ones(rows, dtype=np.int64),
        )

    def size(self, client_id: str) -> int:
        return 3 + CLIENTS.index(client_id) % 7

    def _mishap(self) -> None:
        if self.mishap == "error":
            raise FedvoiceError(
                ErrorCode.BAD_MANIFEST, where=self.at, got="a", wanted="b", next_step="C."
            )
        if self.marker is not None and self.marker.exists():
            return
        if self.marker is not None:
            self.marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Source:
    """Makes `Numbers`, or cannot."""

    mishap: str = ""
    at: str = ""
    marker: Path | None = None

    def __call__(self) -> Numbers:
        if self.mishap == "unreadable":
            raise FedvoiceError(
                ErrorCode.NOT_FOUND, where="the corpus", got="a", wanted="b", next_step="C."
            )
        return Numbers(self.mishap, self.at, self.marker)


def worker_spec(**mishap):
    return WorkerSpec(TrainerSpec(EngineKind.FAST, two_layer_task().manifest), Source(**mishap))


def round_work(number=1):
    config = ServerConfig()
    return RoundWork(
        number,
        TrainingPlan(local_epochs=2, batch_size=4, client_rate=0.5, clip_norm=1.0),
        two_layer_task().initial_weights(seed=1),
        UpdateLimits(
            config.grid_bits,
            config.max_update_abs,
            config.max_update_norm,
            config.max_client_examples,
        ),
    )


def inline_part(number=1, work=None):
    """The result that every pool must give."""
    trainer, population = worker_spec().make()
    return InlinePool(trainer, population).train(work or round_work(number), CLIENTS)


def assert_same(part, wanted):
    """The same sum to the bit, and the same clients' reports in the same order."""
    assert part.total.mean().tobytes() == wanted.total.mean().tobytes()
    assert part.total.total_weight == wanted.total.total_weight
    assert [r.client_id for r in part.reports] == [r.client_id for r in wanted.reports]
    assert [r.statistics.loss for r in part.reports] == [r.statistics.loss for r in wanted.reports]

"""Tasks of a few hundred parameters, and clients with random examples of ragged lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
from fedvoice.model_export.kinds.ctc import CtcConfig
from fedvoice.model_export.kinds.encoder import EncoderConfig
from fedvoice.model_export.kinds.rnnt import RnntConfig
from fedvoice.model_export.kinds.two_layer import TwoLayerConfig
from fedvoice.protocol.engine import Example
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.task import FeatureSettings, TaskManifest
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.tasks import TrainingTask, unexported_task

torch.set_num_threads(1)

FEATURES = FeatureSettings(mel_bins=6, stack=2, max_secs=2.0)
WORDS = VocabularyConfig(tokens=("up", "down", "left", "right", "go"))
BUCKETS = (
    BucketConfig(frames=6, labels=2, batch=2),
    BucketConfig(frames=10, labels=3, batch=4),
)


def rnnt(layers: int, *, bidirectional: bool) -> RnntConfig:
    encoder = EncoderConfig(layers=layers, hidden_size=8, bidirectional=bidirectional)
    return RnntConfig(encoder=encoder, embedding_size=4, predictor_size=6, joint_size=7)


def ctc(layers: int, *, bidirectional: bool) -> CtcConfig:
    encoder = EncoderConfig(layers=layers, hidden_size=7, bidirectional=bidirectional)
    return CtcConfig(encoder=encoder)


MODELS = {
    "rnnt": rnnt(1, bidirectional=True),
    "rnnt-unidirectional-2": rnnt(2, bidirectional=False),
    "rnnt-bidirectional-2": rnnt(2, bidirectional=True),
    "ctc": ctc(1, bidirectional=False),
    "ctc-bidirectional-2": ctc(2, bidirectional=True),
    "2nn": TwoLayerConfig(hidden_size=9),
}


def export_config(kind: str) -> ExportConfig:
    """`rnnt` is the task of `tests/device_runtime/test_executorch_engine.py`: exported once."""
    return ExportConfig(
        name="tiny",
        model=MODELS[kind],
        features=FEATURES,
        vocabulary=WORDS,
        buckets=BUCKETS,
    )


def tiny_task(kind: str = "rnnt") -> TrainingTask:
    """Without a program: for the fast engine alone."""
    return unexported_task(export_config(kind))


def make_examples(count: int, seed: int, frames: tuple[int, int] = (9, 20)) -> list[Example]:
    """Utterances of `frames` feature frames, from the first to the second number."""
    random = np.random.default_rng(seed)
    return [
        Example(
            random.normal(size=(int(random.integers(*frames, endpoint=True)), 6)).astype("f4"),
            [int(token) for token in random.integers(1, 6, size=int(random.integers(1, 3)))],
        )
        for _ in range(count)
    ]


def collate(examples: Sequence[Example]) -> ClientData:
    return ClientData.collate(examples, FEATURES.stack, FEATURES.mel_bins)


def make_clients(counts: Sequence[int], seed: int = 0) -> dict[str, ClientData]:
    """Clients a, b, ... with so many examples of both buckets."""
    return {
        chr(ord("a") + i): collate(make_examples(count, 100 * seed + i))
        for i, count in enumerate(counts)
    }


def some_weights(manifest: TaskManifest, seed: int) -> FlatVector:
    """Random weights [P], padding zero."""
    flat = np.zeros(manifest.parameters.total_size, dtype=np.float32)
    random = np.random.default_rng(seed)
    for view in manifest.parameters.views(flat):
        view[...] = random.normal(scale=0.3, size=view.shape)
    return flat


@dataclass(frozen=True)
class Clients:
    """A population that is there: `simulation.clients.Population`."""

    data: Mapping[str, ClientData]
    evaluation: Mapping[str, ClientData] = field(default_factory=dict)

    @property
    def client_ids(self) -> Sequence[str]:
        return list(self.data)

    def train(self, client_id: str) -> ClientData:
        return self.data[client_id]

    def size(self, client_id: str) -> int:
        return len(self.data[client_id])

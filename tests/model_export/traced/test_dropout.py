"""Dropout of a brought module: drawn by the host, alike on every engine, and drawn again alike by
a phone that resumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedvoice.device_runtime.checkpoint import Checkpoint
from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.trainer import LocalResult, TrainingStatus, train
from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
from fedvoice.model_export.torch_engine import TorchEngine
from fedvoice.model_export.traced.draws import count_draws, split_draws
from fedvoice.model_export.traced.rewriting import Drawn
from fedvoice.protocol.engine import Engine
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import FeatureSettings, TaskPackage
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.engines import PhoneTrainer, TrainerSpec
from tests.laboratory.tiny import collate, make_examples, some_weights
from tests.shared import exported

BUCKETS = (BucketConfig(frames=6, labels=2, batch=2), BucketConfig(frames=10, labels=2, batch=3))
PLAN = TrainingPlan(local_epochs=2, batch_size=5, client_rate=0.2, seed=3)


class Spotter(nn.Module):
    """One dropout before the mean over the frames that there are, one after."""

    predicts = "label"

    def __init__(self, input_size: int, vocabulary_size: int, p: float = 0.4) -> None:
        super().__init__()
        self.front, self.drop = nn.Linear(input_size, 8), nn.Dropout(p)
        self.head = nn.Linear(8, vocabulary_size)

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        longest = int(lengths.max())
        mask = (torch.arange(longest) < lengths[:, None]).unsqueeze(2)
        hidden = self.drop(torch.tanh(self.front(features[:, :longest])))
        pooled = (hidden * mask).sum(1) / lengths[:, None]
        return self.head(functional.dropout(pooled, 0.2, self.training))  # type: ignore[no-any-return]

    def forward(self, features: Tensor, lengths: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy(self.predict(features, lengths), label, reduction="none")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> TaskPackage:
    config = ExportConfig(
        name="spotter",
        model={"kind": f"{__name__}:Spotter"},
        features=FeatureSettings(mel_bins=6, stack=2, max_secs=2.0),
        vocabulary=VocabularyConfig(tokens=("up", "down", "left", "right", "go")),
        buckets=BUCKETS,
    )
    return exported(config, tmp_path_factory).package


def a_clients_round(engine: Engine, package: TaskPackage, client_id: str = "anna") -> LocalResult:
    """Batches of 5 rows of two buckets: several calls a step."""
    weights = some_weights(package.manifest, seed=1)
    examples = make_examples(9, seed=2)
    return train(engine, examples, PLAN, weights, client_id=client_id, round_number=4)


def test_every_engine_drops_the_same(package: TaskPackage) -> None:
    manifest = package.manifest
    assert [bucket.draws for bucket in manifest.buckets] == [
        bucket.batch * (bucket.frames * 8 + 8) for bucket in BUCKETS
    ]
    phone = a_clients_round(ExecuTorchEngine(package), package)
    eager = a_clients_round(TorchEngine(manifest), package)
    assert phone.delta is not None
    assert eager.delta is not None
    difference = np.linalg.norm(phone.delta - eager.delta) / np.linalg.norm(phone.delta)
    assert difference < 1e-4

    fast = TrainerSpec("fast", manifest).make()
    assert isinstance(fast, PhoneTrainer)
    data: ClientData = collate(make_examples(9, seed=2))
    weights = some_weights(manifest, seed=1)
    (update,) = fast.train([("anna", data)], PLAN, weights, 4)
    assert update.delta is not None
    assert np.array_equal(update.delta, eager.delta)


def test_another_client_drops_something_else(package: TaskPackage) -> None:
    engine = TorchEngine(package.manifest)
    whole = TrainingPlan(batch_size=0, client_rate=0.2)  # one step: no order plays a part
    weights, examples = some_weights(package.manifest, seed=1), make_examples(9, seed=2)

    def delta(client_id: str, round_number: int) -> bytes:
        names = {"client_id": client_id, "round_number": round_number}
        found = train(engine, examples, whole, weights, **names).delta  # type: ignore[arg-type]
        assert found is not None
        return found.tobytes()

    assert len({delta("anna", 4), delta("ben", 4), delta("anna", 5)}) == 3
    assert delta("anna", 4) == delta("anna", 4)


def test_a_resumed_phone_drops_what_it_would_have(package: TaskPackage, tmp_path: Path) -> None:
    engine = ExecuTorchEngine(package)
    weights, examples = some_weights(package.manifest, seed=1), make_examples(9, seed=2)
    polls = iter([False, False, True])
    checkpoint = Checkpoint(tmp_path / "checkpoint", every_secs=0)
    stopped = train(
        engine,
        examples,
        PLAN,
        weights,
        client_id="anna",
        round_number=4,
        checkpoint=checkpoint,
        should_stop=lambda: next(polls),
    )
    assert stopped.status is TrainingStatus.STOPPED
    resumed = train(
        engine, examples, PLAN, weights, client_id="anna", round_number=4, checkpoint=checkpoint
    )
    whole = a_clients_round(engine, package)
    assert resumed.delta is not None
    assert whole.delta is not None
    assert resumed.delta.tobytes() == whole.delta.tobytes()


def test_nothing_is_dropped_where_a_model_transcribes(package: TaskPackage) -> None:
    engine, weights = TorchEngine(package.manifest), some_weights(package.manifest, seed=1)
    bucket = package.manifest.buckets[1]
    features = np.random.default_rng(0).normal(size=(3, 20, 6)).astype("f4")
    frames = np.array([10, 7, 4])
    found = engine.decode(bucket, weights, features, frames)
    assert ExecuTorchEngine(package).decode(bucket, weights, features, frames) == found
    assert engine.decode(bucket, weights, features, frames) == found


def test_a_mask_keeps_the_mean_and_takes_its_own_numbers() -> None:
    drawn = [Drawn("dropout", (200, 50), 0.25), Drawn("uniform", (3,)), Drawn("dropout", (2,), 0.5)]
    uniforms = torch.rand(count_draws(drawn), generator=torch.Generator().manual_seed(0))
    large, plain, small = split_draws(drawn, uniforms)
    assert sorted({round(v, 5) for v in large.unique().tolist()}) == [0.0, round(1 / 0.75, 5)]
    assert float(large.mean()) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(plain, uniforms[10_000:10_003])
    assert torch.equal(small, (uniforms[10_003:] > 0.5) * 2.0)

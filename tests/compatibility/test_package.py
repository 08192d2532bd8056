"""A task package of 0.1.0 loads and trains: on the phones' runtime, and as eager PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.trainer import train
from fedvoice.model_export.torch_engine import TorchEngine
from fedvoice.protocol.engine import Engine, Example, make_batch
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.task import TaskPackage, load_package

EXAMPLES = 4


@pytest.fixture
def package(recorded: Path) -> TaskPackage:
    return load_package(recorded / "run" / "task")


@pytest.fixture
def training(recorded: Path) -> dict[str, Any]:
    with np.load(recorded / "training.npz") as stored:
        return dict(stored)


@pytest.fixture(params=["executorch", "torch"])
def engine(request: pytest.FixtureRequest, package: TaskPackage) -> Engine:
    if request.param == "torch":
        return TorchEngine(package.manifest)
    return ExecuTorchEngine(package)


def test_a_step_has_the_recorded_loss_and_gradient(
    package: TaskPackage, engine: Engine, training: dict[str, Any]
) -> None:
    weights, bucket = package.weights(), package.manifest.buckets[0]
    assert weights.tobytes() == training["weights"].tobytes()
    batch = make_batch(examples_of(training)[:2], bucket, package.manifest, weight=0.5)
    loss, gradient = engine.step(bucket, weights, batch)
    assert loss == pytest.approx(float(training["loss"]), rel=1e-5)
    np.testing.assert_allclose(gradient, training["gradient"], rtol=1e-4, atol=1e-6)
    decoded = engine.decode(bucket, weights, batch.features, batch.frame_counts)
    assert [list(tokens) for tokens in decoded] == json.loads(str(training["decoded"]))


def test_a_phones_training_comes_to_the_recorded_update(
    package: TaskPackage, engine: Engine, training: dict[str, Any]
) -> None:
    result = train(
        engine,
        examples_of(training),
        package.manifest.plan,
        package.weights(),
        client_id="anna",
        round_number=1,
    )
    assert result.delta is not None
    np.testing.assert_allclose(result.delta, training["delta"], rtol=1e-3, atol=1e-6)
    statistics = pb.Statistics.FromString(training["statistics"].tobytes())
    assert (result.statistics.examples, result.statistics.steps) == (4, 4)
    assert (statistics.examples, statistics.steps) == (4, 4)
    assert result.statistics.loss == pytest.approx(statistics.loss, rel=1e-4)
    assert result.statistics.planned_memory_bytes == statistics.planned_memory_bytes


def examples_of(training: dict[str, Any]) -> list[Example]:
    return [Example(training[f"features{i}"], [1 + i % 2]) for i in range(EXAMPLES)]

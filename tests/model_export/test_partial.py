"""Partial training: frozen parameters and adapters in programs, on every engine, in the books."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.trainer import train
from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
from fedvoice.model_export.fresh import model_with
from fedvoice.model_export.torch_engine import TorchEngine
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import FeatureSettings, TaskPackage
from tests.laboratory.tiny import make_examples
from tests.shared import exported

ENCODER = {"layers": 2, "hidden_size": 8, "bidirectional": True}
SIZES = {"embedding_size": 4, "predictor_size": 8, "joint_size": 8}
TOP = ["predictor.*", "joint_*", "output.*"]
ADAPTERS = {"matrices": ["encoder.weight*", "joint_encoder.weight"], "rank": 2, "scale": 2.0}


class Listener(nn.Module):
    """A module of somebody's, with a statistic that it keeps."""

    predicts = "ctc"
    takes_audio = True

    def __init__(self, input_size: int, vocabulary_size: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(input_size)
        self.rnn = nn.LSTM(input_size, 8, batch_first=True)
        self.output = nn.Linear(8, vocabulary_size)

    def predict(self, features: Tensor) -> Tensor:
        hidden, _ = self.rnn(self.norm(features.transpose(1, 2)).transpose(1, 2))
        found: Tensor = self.output(hidden)
        return found

    def forward(
        self, features: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        log_p = self.predict(features).log_softmax(-1).transpose(0, 1)
        return functional.ctc_loss(log_p, targets, lengths, target_lengths, reduction="none")


def config(partial: dict[str, Any], kind: str = "rnnt") -> ExportConfig:
    model = {"kind": kind, "encoder": ENCODER, **(SIZES if kind == "rnnt" else {})}
    if ":" in kind:
        model = {"kind": kind}
    return ExportConfig(
        name="partial",
        model=model,
        features=FeatureSettings(mel_bins=6, stack=2, max_secs=2.0),
        vocabulary=VocabularyConfig(tokens=("up", "down", "left", "right", "go")),
        buckets=(BucketConfig(frames=10, labels=2, batch=3),),
        partial=partial,
    )


PARTS: dict[str, tuple[dict[str, Any], str]] = {
    "frozen-encoder": ({"freeze": ["encoder.*"]}, "rnnt"),
    "frozen-int8": ({"freeze": ["encoder.*"], "int8": True}, "rnnt"),
    "lora": ({"freeze": ["*"], "adapters": ADAPTERS}, "rnnt"),
    "lora-int8": ({"freeze": ["encoder.*"], "adapters": ADAPTERS, "int8": True}, "rnnt"),
    "ctc-lora": (
        {"freeze": ["encoder.*"], "adapters": ADAPTERS | {"matrices": ["encoder.weight*"]}},
        "ctc",
    ),
    "brought-lora": (
        {
            "freeze": ["*"],
            "adapters": {"matrices": ["rnn.weight*"], "rank": 2},
            "int8": True,
        },
        f"{__name__}:Listener",
    ),
}


@pytest.fixture(scope="module", params=PARTS)
def package(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> TaskPackage:
    return exported(config(*PARTS[request.param]), tmp_path_factory).package


def test_what_is_frozen_does_not_move_and_what_trains_does(package: TaskPackage) -> None:
    """On the phone's runtime and in eager PyTorch alike."""
    manifest = package.manifest
    weights = package.weights()
    engines = ExecuTorchEngine(package), TorchEngine(manifest, package.frozen_path)
    plan = TrainingPlan(local_epochs=2, batch_size=3, client_rate=0.2, seed=3)
    examples = make_examples(6, seed=2)
    phone, eager = (
        train(engine, examples, plan, weights, client_id="anna", round_number=1)
        for engine in engines
    )
    assert phone.delta is not None
    assert eager.delta is not None
    np.testing.assert_allclose(phone.delta, eager.delta, atol=2e-5)
    moved = {s.name for s in manifest.parameters.parameters if np.any(phone.delta[s.place])}
    assert moved == {s.name for s in manifest.parameters.parameters}
    before, after = (model_with(manifest, w) for w in (weights, weights + phone.delta))
    parts = before.parts  # type: ignore[attr-defined]
    for name, tensor in before.merged().items():  # type: ignore[attr-defined]
        same = torch.equal(tensor, after.merged()[name])  # type: ignore[attr-defined]
        assert same == (name in parts.frozen and name not in parts.adapted), name

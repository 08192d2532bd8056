"""Partial training: frozen parameters and adapters in programs, on every engine, in the books."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.trainer import train
from fedvoice.model_export.checkpoints import seed_model
from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
from fedvoice.model_export.fresh import (
    model_with,
    new_model,
    parameter_table,
    unexported_manifest,
)
from fedvoice.model_export.graphs.methods import step_and_decode
from fedvoice.model_export.lowering.partitioner import is_loop
from fedvoice.model_export.merging import merge_weights
from fedvoice.model_export.models.partial import PartialModel
from fedvoice.model_export.seeds import WeightsMap
from fedvoice.model_export.torch_engine import TorchEngine
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.partial import Adapters, PartialTraining, divide
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import FROZEN_FILE, FeatureSettings, TaskPackage, save_weights
from fedvoice.simulation.engines import PhoneTrainer
from fedvoice.simulation.fast.trainer import FastTrainer
from tests.laboratory.tiny import collate, make_examples, some_weights
from tests.shared import exported

ENCODER = {"layers": 1, "hidden_size": 8, "bidirectional": True}
SIZES = {"embedding_size": 4, "predictor_size": 8, "joint_size": 8}
ADAPTERS = {
    "matrices": ["encoder.weight*", "predictor.weight*", "joint_*.weight"],
    "rank": 2,
    "scale": 2.0,
}


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
    models: dict[str, dict[str, Any]] = {
        "rnnt": {"encoder": ENCODER, **SIZES},
        "ctc": {"encoder": ENCODER | {"layers": 2}},
    }
    return ExportConfig(
        name="partial",
        model={"kind": kind, **models.get(kind, {})},
        features=FeatureSettings(mel_bins=6, stack=2, max_secs=2.0),
        vocabulary=VocabularyConfig(tokens=("up", "down", "left", "right", "go")),
        buckets=(BucketConfig(frames=10, labels=2, batch=3),),
        partial=partial,
    )


PARTS: dict[str, tuple[dict[str, Any], str]] = {
    "frozen-int8": ({"freeze": ["encoder.*"], "int8": True}, "rnnt"),
    "lora-int8": ({"freeze": ["encoder.*"], "adapters": ADAPTERS, "int8": True}, "rnnt"),
    "lora-ctc": (
        {"freeze": ["*"], "adapters": {"matrices": ["encoder.weight*"], "rank": 2, "scale": 2.0}},
        "ctc",
    ),
    "lora-brought": (
        {"freeze": ["*"], "adapters": {"matrices": ["rnn.weight*"], "rank": 2}, "int8": True},
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
    assert isinstance(before, PartialModel)
    assert isinstance(after, PartialModel)
    parts, now = before.parts, after.merged()
    for name, tensor in before.merged().items():
        stays = name in parts.frozen and name not in parts.adapted
        assert torch.equal(tensor, now[name]) == stays, name


def test_only_what_trains_is_moved_and_what_is_frozen_is_held(package: TaskPackage) -> None:
    manifest = package.manifest
    frozen = load_file(package.directory / FROZEN_FILE)
    assert not {s.name for s in manifest.parameters.parameters} & set(frozen)
    assert manifest.frozen_bytes == sum(t.numel() * t.element_size() for t in frozen.values())
    if manifest.partial.int8:
        assert any(tensor.dtype == torch.int8 for tensor in frozen.values())
    statistics = train(
        ExecuTorchEngine(package),
        make_examples(3, seed=2),
        TrainingPlan(batch_size=3),
        package.weights(),
        client_id="anna",
        round_number=1,
    ).statistics
    (bucket,) = manifest.buckets
    assert statistics.planned_memory_bytes == (
        manifest.parameters.weights_bytes + bucket.step_arena_bytes + manifest.frozen_bytes
    )


def test_the_fast_engine_trains_as_phones_do(package: TaskPackage) -> None:
    manifest, plan = package.manifest, TrainingPlan(batch_size=3, client_rate=0.2, seed=3)
    weights = package.weights()
    clients = [(name, collate(make_examples(3, seed=place))) for place, name in enumerate("ab")]
    fast = FastTrainer(manifest, frozen=package.frozen_path).train(clients, plan, weights, 1)
    phones = PhoneTrainer(ExecuTorchEngine(package)).train(clients, plan, weights, 1)
    for ours, theirs in zip(fast, phones, strict=True):
        assert ours.delta is not None
        assert theirs.delta is not None
        np.testing.assert_allclose(ours.delta, theirs.delta, atol=2e-5)


def test_a_merged_model_says_what_the_partial_one_says(
    package: TaskPackage, tmp_path: Path
) -> None:
    manifest = package.manifest
    weights = some_weights(manifest, seed=5)
    save_weights(tmp_path / "trained.safetensors", weights, manifest.parameters)
    out = tmp_path / "whole.safetensors"
    merge_weights(package.directory, tmp_path / "trained.safetensors", out)
    whole = new_model(config({}, manifest.model_kind), manifest.vocabulary.size)
    assert not seed_model(whole, out, WeightsMap()).unused
    examples = collate(make_examples(3, seed=2))
    x, lengths = examples.features, torch.from_numpy(examples.frames) // 2
    stacked = torch.from_numpy(x).reshape(len(x), -1, 12)
    partial = model_with(manifest, weights, package.frozen_path)
    said, wanted = (m.greedy(stacked, lengths) for m in (whole, partial))
    assert [h.tokens for h in said] == [h.tokens for h in wanted]
    with pytest.raises(FedvoiceError, match="exists"):
        merge_weights(package.directory, None, out)


SHAPES = {"encoder.weight": (6, 8), "encoder.bias": (6,), "output.weight": (4, 6)}


def test_names_are_divided_by_patterns() -> None:
    adapters = Adapters(matrices=("*.weight",), rank=1)
    parts = divide(PartialTraining(freeze=("encoder.*",), adapters=adapters), SHAPES, "task")
    assert parts.trained == ()
    assert parts.frozen == tuple(SHAPES)
    assert parts.adapted == ("encoder.weight", "output.weight")
    assert divide(PartialTraining(), SHAPES, "task").trained == tuple(SHAPES)


@pytest.mark.parametrize(
    ("partial", "got"),
    [
        ({"freeze": ("decoder.*",)}, "decoder"),
        ({"freeze": ("*",)}, "all 3 parameters"),
        ({"adapters": {"matrices": ("encoder.bias",)}}, "encoder.bias"),
        ({"adapters": {"matrices": ("output.*",), "rank": 3}}, "as large as"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(partial: dict[str, Any], got: str) -> None:
    with pytest.raises(FedvoiceError) as caught:
        divide(PartialTraining.model_validate(partial), SHAPES, "task")
    assert caught.value.code is ErrorCode.BAD_CONFIG
    assert got in caught.value.got


def test_frozen_tensors_of_a_checkpoint_are_not_those_of_the_class(tmp_path: Path) -> None:
    """Without the file an engine would compute with others, silently."""
    drawn = config({"freeze": ["encoder.*"]})
    whole = new_model(config({}).model_copy(update={"seed": 7}), 6)
    path = tmp_path / "seed.safetensors"
    save_file({name: p.detach() for name, p in whole.named_parameters()}, path)
    manifest = unexported_manifest(drawn.model_copy(update={"weights": path}))
    with pytest.raises(FedvoiceError, match="frozen tensors"):
        TorchEngine(manifest)
    assert torch.equal(
        model_with(manifest, some_weights(manifest, seed=1), path).get_parameter(
            "base.encoder.weight_hh_l0"
        ),
        whole.get_parameter("encoder.weight_hh_l0"),
    )


def test_below_what_trains_there_is_no_backward_pass() -> None:
    """Each layer and direction has a loop over time less."""
    loops = []
    for partial in ({}, {"freeze": ["encoder.*"]}):
        task = config(partial, "ctc")
        model = new_model(task, 6)
        table, (bucket,) = parameter_table(model), task.task_buckets()
        source, _ = step_and_decode(task.model, table, bucket, task.features, model)
        exported = torch.export.export(source.graph, source.inputs, strict=False)
        lowered = exported.run_decompositions({})  # as lowering does; it drops what nothing uses
        loops.append(sum(is_loop(node) for node in lowered.graph.nodes))
    with_gradient, without = loops
    layers_and_directions = 4
    assert with_gradient - without == layers_and_directions

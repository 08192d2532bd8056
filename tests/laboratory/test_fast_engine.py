"""The fast engine on every kind of model against the reference engine: no export, so no seconds."""

from __future__ import annotations

import numpy as np
import pytest

from fedvoice.device_runtime.trainer import train
from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
from fedvoice.model_export.kinds import ModelConfig
from fedvoice.model_export.kinds.char_lstm import CharLstmConfig
from fedvoice.model_export.kinds.cnn import CnnConfig
from fedvoice.model_export.torch_engine import TorchEngine
from fedvoice.protocol.engine import Example
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.plan import SpecAugment, TrainingPlan, frozen_parts
from fedvoice.protocol.scoring import ErrorCounts
from fedvoice.protocol.task import FeatureSettings
from fedvoice.protocol.vocabulary import TargetKind
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.engines import TrainerSpec
from fedvoice.simulation.fast.trainer import FastTrainer
from fedvoice.simulation.quality import evaluate
from fedvoice.simulation.settings import EngineKind
from fedvoice.simulation.tasks import TrainingTask, unexported_task
from tests.laboratory.tiny import (
    MODELS,
    collate,
    make_clients,
    make_examples,
    some_weights,
    tiny_task,
)

PLAN = TrainingPlan(
    local_epochs=2,
    batch_size=3,
    data_limit=5,
    client_rate=0.3,
    client_momentum=0.5,
    clip_norm=1.0,
    fvn_std=0.05,
    spec_augment=SpecAugment(time_masks=1, time_mask_frames=3),
    seed=2,
)


def labeller(model: ModelConfig, features: FeatureSettings, frames: int) -> TrainingTask:
    vocabulary = VocabularyConfig(
        kind=TargetKind.WORD, tokens=("a", "b", "c", "d", "e"), as_given=True
    )
    return unexported_task(
        ExportConfig(
            name="labeller",
            model=model,
            features=features,
            vocabulary=vocabulary,
            buckets=(BucketConfig(frames=frames, labels=frames, batch=4),),
        )
    )


def characters(counts: list[int]) -> tuple[TrainingTask, dict[str, ClientData]]:
    """Windows of ids, each with its next ids as targets; the last ones are shorter."""
    task = labeller(
        CharLstmConfig(embedding_size=3, hidden_size=4, layers=2),
        FeatureSettings(mel_bins=1, stack=1),
        frames=6,
    )
    random = np.random.default_rng(0)

    def window(length: int) -> Example:
        ids = random.integers(1, 6, size=length + 1)
        return Example(ids[:-1, None].astype(np.float32), ids[1:].tolist())

    clients = {
        f"role{i}": ClientData.collate([window(6 - n % 3) for n in range(count)], 1, 1)
        for i, count in enumerate(counts)
    }
    return task, clients


def images(counts: list[int]) -> tuple[TrainingTask, dict[str, ClientData]]:
    """Eight by eight pixels, one frame, one label."""
    task = labeller(
        CnnConfig(channels1=2, channels2=3, dense_size=4),
        FeatureSettings(mel_bins=8, stack=8),
        frames=1,
    )
    random = np.random.default_rng(1)

    def image() -> Example:
        pixels = random.uniform(size=(8, 8)).astype(np.float32)
        return Example(pixels, [int(random.integers(1, 6))])

    clients = {
        f"writer{i}": ClientData.collate([image() for _ in range(count)], 8, 8)
        for i, count in enumerate(counts)
    }
    return task, clients


COUNTS = [4, 1, 7, 5]


@pytest.mark.parametrize("kind", [*MODELS, "char-lstm", "cnn"])
def test_law_9_the_fast_engine_comes_to_the_reference_engines_update(kind: str) -> None:
    if kind == "char-lstm":
        task, clients = characters(COUNTS)
    elif kind == "cnn":
        task, clients = images(COUNTS)
    else:
        task, clients = tiny_task(kind), make_clients(COUNTS)
    manifest = task.manifest
    weights = some_weights(manifest, seed=3)
    trainer = TrainerSpec(EngineKind.FAST, manifest).make()
    updates = list(trainer.train(list(clients.items()), PLAN, weights, 1))
    engine = TorchEngine(manifest)
    for (name, data), update in zip(clients.items(), updates, strict=True):
        wanted = train(engine, data, PLAN, weights, client_id=name, round_number=1)
        assert wanted.delta is not None
        assert update.delta is not None
        assert update.statistics.steps == wanted.statistics.steps
        assert update.statistics.loss == pytest.approx(wanted.statistics.loss, rel=1e-4)
        difference = np.linalg.norm(update.delta - wanted.delta) / np.linalg.norm(wanted.delta)
        assert difference < 1e-4


RULES = {
    "tests.own_rules:Anchored": {"rate": 0.3, "memory": 0.9, "decay": 0.02},
    "sgd": {"rate": 0.3, "momentum": 0.5},
}
BY_RULE = {**PLAN.model_dump(exclude={"client_momentum"}), "prox_mu": 0.2, "max_update_norm": 0.5}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "more", [{}, {"clip_per_layer": True, "trainable": ("hidden2.",)}], ids=str
)
def test_law_9_a_client_rule_steps_alike_in_both_engines(
    rule: str, more: dict[str, object]
) -> None:
    plan = TrainingPlan.model_validate(
        {**BY_RULE, **more, "client_rule": rule, "client_rule_options": RULES[rule]}
    )
    task, clients = tiny_task("2nn"), make_clients(COUNTS)
    weights = some_weights(task.manifest, seed=3)
    updates = list(FastTrainer(task.manifest).train(list(clients.items()), plan, weights, 1))
    engine = TorchEngine(task.manifest)
    frozen = frozen_parts(plan, task.manifest.parameters)
    for (name, data), update in zip(clients.items(), updates, strict=True):
        wanted = train(engine, data, plan, weights, client_id=name, round_number=1)
        assert wanted.delta is not None
        assert update.delta is not None
        for counted in ("steps", "planned_memory_bytes"):
            assert getattr(update.statistics, counted) == getattr(wanted.statistics, counted)
        difference = np.linalg.norm(update.delta - wanted.delta) / np.linalg.norm(wanted.delta)
        assert difference < 1e-4
        assert not any(update.delta[part].any() for part in frozen)


def test_the_built_in_rule_comes_to_what_comes_without_a_rule() -> None:
    task, clients = tiny_task("rnnt"), list(make_clients(COUNTS).items())
    weights, trainer = some_weights(task.manifest, seed=3), FastTrainer(task.manifest)
    usual = TrainingPlan.model_validate({**BY_RULE, "client_momentum": 0.5})
    named = {"client_rule": "sgd", "client_rule_options": RULES["sgd"]}
    by_rule = TrainingPlan.model_validate({**BY_RULE, **named})
    for one, other in zip(
        trainer.train(clients, usual, weights, 1),
        trainer.train(clients, by_rule, weights, 1),
        strict=True,
    ):
        assert one.delta is not None
        assert other.delta is not None
        np.testing.assert_allclose(other.delta, one.delta, atol=1e-6, rtol=0)


def test_a_client_that_diverges_is_seen_whatever_the_rule_makes_of_it() -> None:
    task, clients = tiny_task("2nn"), make_clients([3, 3, 3])
    (good,) = make_examples(1, seed=9)
    bad = Example(np.full_like(good.features, np.nan), good.targets)
    clients["b"] = collate([bad, good, good])
    named = {"client_rule": "tests.own_rules:Swallowing", "client_rule_options": {"rate": 0.01}}
    plan = TrainingPlan.model_validate({"batch_size": 1, **named})
    weights = some_weights(task.manifest, seed=1)
    updates = list(FastTrainer(task.manifest).train(list(clients.items()), plan, weights, 1))
    assert [name for name, u in zip(clients, updates, strict=True) if u.delta is None] == ["b"]


@pytest.mark.parametrize(
    ("rule", "options", "code"),
    [
        ("sgd", {"rate": -1.0}, ErrorCode.BAD_CONFIG),
        ("tests.own_rules:Failing", {}, ErrorCode.BAD_PLUGIN),
    ],
)
def test_a_rule_that_cannot_be_had_or_fails_is_named(
    rule: str, options: dict[str, float], code: ErrorCode
) -> None:
    task, clients = tiny_task("2nn"), list(make_clients([4]).items())
    plan = TrainingPlan.model_validate(
        {"batch_size": 1, "client_rule": rule, "client_rule_options": options}
    )
    trainer, weights = FastTrainer(task.manifest), some_weights(task.manifest, seed=1)
    with pytest.raises(FedvoiceError) as caught:
        list(trainer.train(clients, plan, weights, 1))
    assert caught.value.code is code
    assert rule in str(caught.value)


def test_labels_of_images_are_counted_place_by_place() -> None:
    task, clients = images([9])
    weights = some_weights(task.manifest, seed=3)
    trainer = FastTrainer(task.manifest)
    (data,) = clients.values()
    said = trainer.transcribe(data, weights)
    assert all(len(ids) == 1 for ids in said)
    wrong = sum(ids != [int(label)] for ids, label in zip(said, data.targets[:, 0], strict=True))
    assert evaluate(trainer, task.manifest, data, weights) == ErrorCounts(wrong, 9)


def test_examples_that_fit_no_bucket_are_left_out_of_an_error_rate() -> None:
    task = tiny_task("2nn")
    fitting, too_long = make_examples(3, seed=1), make_examples(2, seed=2, frames=(40, 40))
    trainer, weights = FastTrainer(task.manifest), some_weights(task.manifest, seed=1)
    both, only = (
        evaluate(trainer, task.manifest, collate(examples), weights)
        for examples in ([*fitting, *too_long], fitting)
    )
    assert both == only
    assert only.references == sum(len(example.targets) for example in fitting)


def test_data_is_an_example_again_as_it_was_collated() -> None:
    examples = make_examples(5, seed=4)
    data = collate(examples)
    assert len(data) == 5
    assert data.features.shape[1] % 2 == 0  # a multiple of the stack
    for found, wanted in zip(data, examples, strict=True):
        np.testing.assert_array_equal(found.features, wanted.features)
        assert list(found.targets) == list(wanted.targets)
    assert [len(e.features) for e in data[1:3]] == [len(e.features) for e in examples[1:3]]

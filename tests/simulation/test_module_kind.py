"""A user's own `nn.Module` trains on the fast engine: alone, many clients at once, in a worker."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedvoice.model_export.config import ExportConfig, parse_config
from fedvoice.model_export.kinds import MODEL_KINDS, kind_named
from fedvoice.model_export.kinds.module import module_kind
from fedvoice.model_export.package import export_task
from fedvoice.protocol.engine import Example
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.scoring import Scoring
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.engines import TrainerSpec
from fedvoice.simulation.fast.local import stack_rows, take_rows
from fedvoice.simulation.fast.models import OneModel, has_many
from fedvoice.simulation.fast.trainer import FastTrainer
from fedvoice.simulation.fast.vmapped import VmappedModel
from fedvoice.simulation.quality import evaluate
from fedvoice.simulation.settings import EngineKind
from fedvoice.simulation.tasks import TrainingTask, unexported_task
from tests.simulation.module_kinds import APART, Pooled

HERE = "tests.simulation.module_kinds"
PLAN = TrainingPlan(batch_size=3, local_epochs=2, client_rate=0.5, clip_norm=0.0)


def export(kind: str, **model: Any) -> ExportConfig:
    fields = {
        "name": "mine",
        "model": {"kind": kind, **model},
        "features": {"mel_bins": 3, "stack": 1},
        "vocabulary": {"tokens": ["a", "b", "c"], "as_given": True},
        "buckets": [{"frames": 6, "labels": 1, "batch": 4}],
    }
    return parse_config(fields, "a test")


def task_of(name: str = "Pooled", **model: Any) -> TrainingTask:
    return unexported_task(export(f"{HERE}:{name}", **model))


def client(count: int, seed: int) -> ClientData:
    """The label is the bin that is loudest."""
    random = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        label = int(random.integers(3))
        x = random.normal(size=(int(random.integers(2, 7)), 3)).astype("f4")
        x[:, label] += 3
        examples.append(Example(x, [label + 1]))
    return ClientData.collate(examples, 1, 3)


CLIENTS = [(f"c{i}", client(count, i)) for i, count in enumerate([7, 7, 4, 1, 9, 3])]


def updates(trainer: FastTrainer, task: TrainingTask) -> list[np.ndarray[Any, Any]]:
    found = trainer.train(CLIENTS, PLAN, task.initial_weights(1), 1)
    deltas = [update.delta for update in found]
    assert all(delta is not None and np.linalg.norm(delta) > 0 for delta in deltas)
    return deltas  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["Pooled", "ReadsValues", "WrongUnderVmap", "Frozen", "APART"])
def test_law_9_many_clients_at_once_come_to_what_each_comes_to_alone(name: str) -> None:
    """Rows that only fill up would give NaN here: none reaches the loss."""
    task = task_of(name)
    together, alone = FastTrainer(task.manifest), FastTrainer(task.manifest, 1)
    assert (together.clients_together, alone.clients_together) == (8, 1)
    for many, one in zip(updates(together, task), updates(alone, task), strict=True):
        np.testing.assert_allclose(many, one, rtol=1e-4, atol=1e-6)


def test_law_1_a_group_gives_the_same_bits_whatever_was_trained_before_it() -> None:
    """By one worker, by the second of two, and after a run was resumed."""
    task = task_of(hidden=32)
    clients = [(f"c{i}", client(6 + i % 3, i)) for i in range(16)]
    weights = task.initial_weights(1)

    def trained(trainer: FastTrainer, own: list[tuple[str, ClientData]]) -> list[bytes]:
        found = [update.delta for update in trainer.train(own, PLAN, weights, 1)]
        return [delta.tobytes() for delta in found if delta is not None]

    one = FastTrainer(task.manifest)
    assert one.clients_together == 8
    whole = trained(one, clients)
    first, second = FastTrainer(task.manifest), FastTrainer(task.manifest)
    assert trained(first, clients[:8]) + trained(second, clients[8:]) == whole
    assert trained(one, clients) == whole
    assert trained(FastTrainer(task.manifest), clients[::-1][:8]) == trained(one, clients[::-1][:8])


@pytest.mark.parametrize(
    ("name", "vmaps"), [("Pooled", True), ("ReadsValues", False), ("WrongUnderVmap", False)]
)
def test_law_8_vmapped_gradients_are_those_of_autograd(name: str, vmaps: bool) -> None:
    manifest = task_of(name).manifest
    many, one = VmappedModel(manifest, 4), OneModel(manifest)
    data = [data for _, data in CLIENTS[:3]]
    taken = [
        take_rows(manifest, own, np.arange(min(5, len(own))), PLAN.spec_augment, None)
        for own in data
    ]
    batch = stack_rows(manifest, taken, torch.tensor([0.2, 0.2, 0.25]))
    many.weights.normal_(generator=torch.Generator().manual_seed(1))
    for call in range(3):
        losses = many.compute_gradients(batch, add=call > 1)
        assert many.vmaps is vmaps
        for place, part in enumerate(taken):
            one.weights[0] = many.weights[place]
            own = batch.of(slice(place, place + 1))
            own = type(own)(*(tensor[:, : len(part.rows)] for tensor in own))
            torch.testing.assert_close(losses[place : place + 1], one.compute_gradients(own, add=0))
            times = 2.0 if call == 2 else 1.0
            torch.testing.assert_close(many.gradient[place], one.gradient[0] * times)
    assert not many.gradient[3].any()


def test_a_module_learns_and_is_evaluated() -> None:
    task, weights = task_of(hidden=8), task_of(hidden=8).initial_weights(0)
    trainer = TrainerSpec(EngineKind.FAST, task.manifest).make()
    before = evaluate(trainer, task.manifest, client(40, 99), weights)
    for number in range(5):
        deltas = [u.delta for u in trainer.train(CLIENTS, PLAN, weights, number)]
        weights = weights + np.mean(deltas, axis=0)
    after = evaluate(trainer, task.manifest, client(40, 99), weights)
    assert before.references == after.references == 40
    assert after.errors <= 2 < before.errors


def test_settings_are_the_factorys_arguments() -> None:
    assert task_of(hidden=9).manifest.parameters.parameter_count == 9 * 4 + 3 * 10 + 1
    assert task_of().manifest.parameters.parameters[0].name == "scale"
    with pytest.raises(FedvoiceError, match="wanted one of dropout, hidden") as caught:
        export(f"{HERE}:Pooled", depth=3)
    assert caught.value.code is ErrorCode.BAD_CONFIG


def test_a_kind_says_what_it_takes_and_how_it_is_scored() -> None:
    own, apart = task_of().manifest, task_of("APART").manifest
    assert (own.takes_audio, own.scoring) == (False, Scoring.LABELS)
    assert (apart.takes_audio, apart.scoring) == (True, Scoring.WORDS)
    again = type(own).model_validate_json(own.model_dump_json())
    assert again == own


def test_a_registered_name_is_a_kind_here_and_travels_as_a_module_and_a_name() -> None:
    MODEL_KINDS.register("pooled")(Pooled)
    task = unexported_task(export("pooled"))
    assert has_many(task.manifest)
    sent = pickle.loads(pickle.dumps(TrainerSpec(EngineKind.FAST, task.manifest)))
    assert sent.manifest.model_kind == f"{HERE}:Pooled"
    for here, there in zip(
        updates(FastTrainer(task.manifest), task), updates(sent.make(), task), strict=True
    ):
        np.testing.assert_array_equal(here, there)


def test_a_registered_instance_travels_by_the_name_that_its_module_has_for_it() -> None:
    MODEL_KINDS.register("set apart")(APART)
    assert MODEL_KINDS.get(MODEL_KINDS.travelling("set apart")) is APART
    assert MODEL_KINDS.travelling("set apart") != "set apart"
    MODEL_KINDS.register("nameless")(module_kind(Pooled))
    with pytest.raises(FedvoiceError, match="nameless"):
        MODEL_KINDS.travelling("nameless")


def test_a_kind_of_a_notebook_does_not_travel() -> None:
    class Local(Pooled):
        pass

    MODEL_KINDS.register("of a notebook")(Local)
    task = unexported_task(export("of a notebook"))
    assert updates(FastTrainer(task.manifest), task)
    with pytest.raises(FedvoiceError, match="of a notebook") as caught:
        pickle.dumps(TrainerSpec(EngineKind.FAST, task.manifest))
    assert caught.value.code is ErrorCode.BAD_PLUGIN


def test_what_does_not_train_is_the_same_everywhere_and_no_part_of_the_update() -> None:
    manifest = task_of("Frozen").manifest
    assert {s.name for s in manifest.parameters.parameters} == {"out.weight", "out.bias", "scale"}
    torch.manual_seed(1)
    one = OneModel(manifest).module
    torch.manual_seed(2)
    other = OneModel(manifest).module
    assert torch.equal(one.module.hidden.weight, other.module.hidden.weight)
    assert torch.equal(one.module.noise, other.module.noise)


@pytest.mark.parametrize(
    ("name", "model", "says"),
    [
        ("Pooled", {"dropout": 0.5}, "draws random numbers"),
        ("Counting", {}, "changes seen"),
        ("DropsByNumPy", {}, "draws random numbers"),
    ],
)
def test_a_loss_that_cannot_be_repeated_is_refused(
    name: str, model: dict[str, Any], says: str
) -> None:
    task = task_of(name, **model)
    with pytest.raises(FedvoiceError, match=says) as caught:
        updates(FastTrainer(task.manifest), task)
    assert caught.value.code is ErrorCode.BAD_CONFIG


def test_a_module_that_fails_is_named() -> None:
    with pytest.raises(FedvoiceError, match=f"{HERE}:Broken: got RuntimeError") as caught:
        task_of("Broken")
    assert caught.value.code is ErrorCode.BAD_PLUGIN


def test_without_decode_there_is_training_and_no_evaluation() -> None:
    task = task_of("Frozen")
    with pytest.raises(FedvoiceError, match="no `predict`"):
        FastTrainer(task.manifest).transcribe(client(2, 0), task.initial_weights(0))


def test_exporting_without_predict_is_refused(tmp_path: Path) -> None:
    """Tokens that Python chooses are no part of a program."""
    with pytest.raises(FedvoiceError, match="no `predict`") as caught:
        export_task(export(f"{HERE}:Pooled"), tmp_path / "task")
    assert caught.value.code is ErrorCode.BAD_CONFIG
    assert not (tmp_path / "task").exists()


def test_what_is_no_kind_says_so() -> None:
    with pytest.raises(FedvoiceError, match=HERE):
        kind_named(f"{HERE}:HERE")
    with pytest.raises(FedvoiceError, match="wanted one of 2nn, char-lstm, cnn, ctc,"):
        export("transformer")

"""Law 9: the fast engine comes to the update of the phone's trainer on ExecuTorch, alone and with
eight clients together that have different numbers of examples and steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.trainer import LocalResult, train
from fedvoice.protocol.engine import Example
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import SpecAugment, TrainingPlan
from fedvoice.protocol.task import TaskPackage
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.engines import PhoneTrainer
from fedvoice.simulation.fast.trainer import FastTrainer
from fedvoice.simulation.trainers import LocalUpdate
from tests.laboratory.tiny import collate, export_config, make_clients, make_examples, some_weights
from tests.shared import exported

pytestmark = pytest.mark.slow

ROUND = 3
TRAINED = {"rnnt": ("encoder.", "output."), "ctc": ("encoder.",), "2nn": ("hidden2.", "output.")}


def every_knob(kind: str) -> TrainingPlan:
    return TrainingPlan(
        local_epochs=2,
        batch_size=3,
        data_limit=7,
        client_rate=0.3,
        client_momentum=0.5,
        clip_norm=1.0,
        clip_per_layer=True,
        fvn_std=0.1,
        fvn_relative=True,
        spec_augment=SpecAugment(
            time_masks=1, time_mask_frames=4, frequency_masks=1, frequency_mask_bins=2
        ),
        prox_mu=0.2,
        trainable=TRAINED[kind],
        max_update_norm=0.3,
        seed=5,
    )


def plans(kind: str) -> dict[str, TrainingPlan]:
    """Batches of 5 are larger than both buckets'; one of all examples also spans them."""
    plain = {"client_rate": 0.1, "clip_norm": 0.0}
    return {
        "every knob": every_knob(kind),
        "no knob": TrainingPlan(batch_size=5, **plain),  # type: ignore[arg-type]
        "one batch": TrainingPlan(batch_size=0, **plain),  # type: ignore[arg-type]
    }


@pytest.fixture(scope="module", params=sorted(TRAINED))
def package(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> TaskPackage:
    return exported(export_config(request.param), tmp_path_factory).package


def ragged_clients() -> dict[str, ClientData]:
    """Nine, so that groups of eight leave one over; one with nothing, one with nothing usable, one
    with some that fit no bucket."""
    clients = make_clients([12, 5, 1, 9, 3, 14])
    too_long = make_examples(2, seed=50, frames=(30, 40))
    clients["nothing"] = collate([])
    clients["unusable"] = collate(too_long)
    clients["some"] = collate([*make_examples(4, seed=60), *too_long])
    return clients


def demand_the_same(phone: LocalResult, fast: LocalUpdate) -> None:
    for name in ("steps", "examples", "skipped_examples", "planned_memory_bytes"):
        assert getattr(fast.statistics, name) == getattr(phone.statistics, name), name
    if phone.delta is None:
        assert fast.delta is None
        return
    assert fast.delta is not None
    assert fast.statistics.loss == pytest.approx(phone.statistics.loss, rel=1e-4)
    difference = np.linalg.norm(fast.delta - phone.delta) / np.linalg.norm(phone.delta)
    assert difference < 1e-4


def trained_by_phones(
    engine: ExecuTorchEngine,
    clients: Mapping[str, ClientData],
    plan: TrainingPlan,
    weights: FlatVector,
) -> dict[str, LocalResult]:
    return {
        name: train(engine, data, plan, weights, client_id=name, round_number=ROUND)
        for name, data in clients.items()
    }


def test_law_9_the_fast_engine_comes_to_the_phones_update(package: TaskPackage) -> None:
    manifest = package.manifest
    weights, clients = some_weights(manifest, seed=1), ragged_clients()
    engine = ExecuTorchEngine(package)
    for plan in plans(manifest.model_kind).values():
        phones = trained_by_phones(engine, clients, plan, weights)
        assert len({result.statistics.steps for result in phones.values()}) > 2 or not (
            plan.batch_size
        )
        for together in (1, 8):
            fast = FastTrainer(manifest, clients_together=together)
            assert fast.clients_together == together
            updates = list(fast.train(list(clients.items()), plan, weights, ROUND))
            for (name, phone), update in zip(phones.items(), updates, strict=True):
                demand_the_same(phone, update)
                assert (update.delta is None) == (name in ("nothing", "unusable"))


def test_law_9_a_client_that_diverges_spoils_none_of_those_it_trains_with(
    package: TaskPackage,
) -> None:
    manifest = package.manifest
    weights, clients = some_weights(manifest, seed=1), make_clients([3, 3, 3])
    (good,) = make_examples(1, seed=9)
    bad = Example(np.full_like(good.features, np.nan), good.targets)
    clients["b"] = collate([bad, good, good])
    plan = plans(manifest.model_kind)["every knob"]
    phones = trained_by_phones(ExecuTorchEngine(package), clients, plan, weights)
    updates = list(FastTrainer(manifest).train(list(clients.items()), plan, weights, ROUND))
    assert [phone.delta is None for phone in phones.values()] == [False, True, False]
    assert [update.delta is None for update in updates] == [False, True, False]
    for name, update in zip(clients, updates, strict=True):
        if update.delta is not None:
            demand_the_same(phones[name], update)


def test_law_9_both_engines_transcribe_alike(package: TaskPackage) -> None:
    manifest = package.manifest
    weights = some_weights(manifest, seed=2) * np.float32(3)
    data = collate([*make_examples(9, seed=7), *make_examples(1, seed=8, frames=(30, 30))])
    fast = FastTrainer(manifest).transcribe(data, weights)
    phone = PhoneTrainer(ExecuTorchEngine(package)).transcribe(data, weights)
    assert fast == phone
    assert len({tuple(ids) for ids in fast}) > 2
    assert fast[-1] == []  # fits no bucket

"""A plug-in that fails is named, and what fails in a worker comes home."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from fedvoice.data.dataset import DATASETS, identity_of
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.simulation.engines import TrainerSpec
from fedvoice.simulation.populations import build_population, export_config
from fedvoice.simulation.settings import EngineKind
from fedvoice.simulation.workers.pool import WorkerSpec
from fedvoice.simulation.workers.processes import ProcessPool
from fedvoice.simulation.workers.ray_pool import cause_of
from fedvoice.simulation.workers.spread import Spread
from tests.laboratory.backends_scene import CLIENTS, round_work, two_layer_task, worker_spec
from tests.simulation import failing

HERE = "tests.simulation.failing"


def a_pool() -> Any:
    spec = worker_spec()
    return Spread(2, f"{HERE}:Pool").pool_for(spec.trainer, spec.population, *spec.make())


@pytest.mark.parametrize(
    ("fails", "says"),
    [
        (
            lambda: TrainerSpec(f"{HERE}:Engine", two_layer_task().manifest).make(),
            f"engine {HERE}:Engine: got KeyError: 'engine'",
        ),
        (
            lambda: export_config(failing.Data(), {}, "mine"),
            f"dataset {HERE}:Data: got KeyError: 'task_defaults'",
        ),
        (
            lambda: build_population(failing.Data(), two_layer_task().manifest, 0),
            f"dataset {HERE}:Data: got KeyError: 'clients'",
        ),
        (
            lambda: identity_of(failing.Data()),
            f"dataset {HERE}:Data: got KeyError: 'identity'",
        ),
        (
            lambda: a_pool().train(round_work(), CLIENTS),
            f"worker pool {HERE}:Pool: got KeyError: 'train'",
        ),
        (
            lambda: a_pool().close(),
            f"worker pool {HERE}:Pool: got KeyError: 'close'",
        ),
    ],
)
def test_a_plug_in_that_fails_is_named(fails: Callable[[], object], says: str) -> None:
    with pytest.raises(FedvoiceError, match=says) as caught:
        fails()
    assert caught.value.code is ErrorCode.BAD_PLUGIN


def test_a_dataset_is_named_as_it_was_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DATASETS, "_registered", {})  # for this test alone

    class Mine(failing.Data):
        pass

    DATASETS.register("mine, which fails")(Mine)
    with pytest.raises(FedvoiceError, match="dataset mine, which fails: got KeyError"):
        identity_of(Mine())


@pytest.mark.parametrize(
    ("source", "kind", "says"),
    [
        (failing.broken_source, ZeroDivisionError, "in a population"),
        (failing.untold_source, FedvoiceError, "Untold: in a"),
    ],
)
def test_an_exception_of_a_worker_process_comes_home(
    source: Callable[[], Any], kind: type[Exception], says: str
) -> None:
    spec = TrainerSpec(EngineKind.FAST, two_layer_task().manifest)
    pool = ProcessPool(WorkerSpec(spec, source), 1)
    with closing(pool), pytest.raises(kind, match=says):
        pool.train(round_work(), CLIENTS)


def test_an_exception_while_a_worker_process_trains_comes_home() -> None:
    with closing(ProcessPool(worker_spec(), 1)) as pool, pytest.raises(ValueError, match="nobody"):
        pool.train(round_work(), ["nobody"])


def test_an_exception_of_a_ray_worker_is_itself() -> None:
    class Wrapped(Exception):  # noqa: N818
        cause = ZeroDivisionError("there")

    assert cause_of(Wrapped()) is Wrapped.cause
    assert isinstance(cause_of(ZeroDivisionError("here")), ZeroDivisionError)

"""An engine comes by a name in settings, a user's own as those that are built in."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.simulation.engines import ENGINES, Driver, TrainerSpec, TrainingEngine
from fedvoice.simulation.fast.trainer import FastTrainer
from fedvoice.simulation.settings import EngineKind, EngineName
from fedvoice.simulation.trainers import Trainer
from tests.laboratory.tiny import make_clients, tiny_task


class OneAtATime(TrainingEngine):
    """The fast engine without groups."""

    @staticmethod
    def trainer(spec: TrainerSpec) -> Trainer:
        return FastTrainer(spec.manifest, clients_together=1)


NAME = f"{__name__}:OneAtATime"


class Settings(BaseModel):
    """Any that name an engine."""

    engine: EngineName = EngineKind.FAST.value


def settings(engine: str) -> Settings:
    return Settings.model_validate({"engine": engine})


def test_what_an_engine_needs_is_asked_of_it() -> None:
    found = {name: ENGINES.get(name) for name in ENGINES.names()}
    assert {name for name, engine in found.items() if engine.needs_package} == {
        "executorch",
        "phones",
    }
    assert found["fast"].driver is found["executorch"].driver is Driver.COHORTS
    assert (found["phones"].driver, found["central"].driver) == (Driver.PHONES, Driver.CENTRAL)


def test_a_users_engine_trains_and_travels() -> None:
    spec = pickle.loads(pickle.dumps(TrainerSpec(NAME, tiny_task().manifest)))
    trainer, weights = spec.make(), tiny_task().initial_weights(0)
    assert trainer.clients_together == 1
    clients = list(make_clients([3, 2]).items())
    plan = spec.manifest.plan
    fast = TrainerSpec(EngineKind.FAST, spec.manifest).make()
    for own, theirs in zip(
        trainer.train(clients, plan, weights, 1), fast.train(clients, plan, weights, 1), strict=True
    ):
        assert own.delta is not None
        assert theirs.delta is not None
        np.testing.assert_allclose(own.delta, theirs.delta, atol=1e-5)


def test_settings_name_an_engine_and_keep_their_form() -> None:
    assert settings(NAME).engine == NAME
    assert settings("executorch").model_dump(mode="json")["engine"] == "executorch"
    assert settings("fast").model_dump(mode="json", exclude_defaults=True) == {}


def test_an_engine_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="central, executorch, fast, phones, or module:name"):
        settings("warp")
    with pytest.raises(FedvoiceError, match="engine nothing:Here") as caught:
        TrainerSpec("nothing:Here", tiny_task().manifest).make()
    assert caught.value.code is ErrorCode.BAD_PLUGIN

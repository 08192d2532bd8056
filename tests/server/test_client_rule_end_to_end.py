"""A job whose plan names a client rule: real phones on a real socket, one that has it, one not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fedvoice.device_runtime.examples import FeatureCache, LocalExamples
from fedvoice.device_runtime.outcomes import Happened
from fedvoice.device_runtime.store import Split
from fedvoice.device_runtime.trainer import train
from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import (
    WEIGHTS_FILE,
    TaskPackage,
    load_weights,
    save_weights,
    write_package,
)
from tests.device_runtime.hut import Hut
from tests.device_runtime.tiny import TinyEngine, some_weights, tiny_manifest
from tests.server.support import PROGRAM, Lab

RULE = "tests.own_rules:Anchored"
PLAN = TrainingPlan.model_validate(
    {"batch_size": 2, "client_rule": RULE, "client_rule_options": {"rate": 0.5}}
)


def package(directory: Path) -> TaskPackage:
    manifest = tiny_manifest()
    directory.mkdir()
    save_weights(directory / WEIGHTS_FILE, some_weights(manifest), manifest.parameters)
    found = {
        "plan": PLAN,
        "program_digest": digest_of(PROGRAM),
        "weights_digest": digest_of((directory / WEIGHTS_FILE).read_bytes()),
    }
    return write_package(directory, manifest.model_copy(update=found), PROGRAM)


def test_the_phone_that_has_the_rule_trains_by_it_and_the_other_waits(
    lab: Lab, tmp_path: Path
) -> None:
    server, address = lab.serve(package(tmp_path / "task"), cohort_size=1, rounds=1)
    lacking, having = (Hut(tmp_path, address, name) for name in ("lacking", "having"))
    having.settings = replace(having.settings, client_rules=(RULE,))
    having.restart()
    for _ in range(3):
        assert lacking.phone.run_once().happened is Happened.NO_WORK
    assert having.phone.run_once().happened is Happened.TRAINED
    assert server.wait_finished(30)
    assert lacking.phone.run_once().finished

    engine, examples = TinyEngine(), having.store.examples(Split.TRAIN)
    local = LocalExamples(engine, having.store, examples, FeatureCache())
    alone = train(
        engine, local, PLAN, some_weights(engine.manifest), client_id="having", round_number=1
    )
    assert alone.delta is not None
    after = load_weights(server.store_dir / "weights.safetensors", engine.manifest.parameters)
    np.testing.assert_allclose(after - some_weights(engine.manifest), alone.delta, atol=1e-6)

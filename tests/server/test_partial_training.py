"""A plan that trains some parameters only: what the server asks for and what it lets move."""

from __future__ import annotations

import numpy as np
import pytest

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import load_weights
from tests.server.support import make_package

NAMES = ("encoder.w", "joint.w")


def test_a_plan_for_another_model_is_refused_at_the_start(lab):
    package = make_package(lab.directory / "task", names=NAMES)
    with pytest.raises(FedvoiceError) as caught:
        lab.serve(package, plan={"trainable": ["joint", "decoder"]})
    assert caught.value.code is ErrorCode.BAD_CONFIG
    assert "'decoder'" in str(caught.value)
    assert "encoder.w, joint.w" in str(caught.value)


def test_a_phone_that_knows_of_no_frozen_parameters_does_not_move_them(lab):
    """Its update has the whole vector; half of it counts."""
    package = make_package(lab.directory / "task", plan=TrainingPlan(), names=NAMES)
    server, address = lab.serve(
        package, rounds=2, cohort_size=1, plan={"trainable": ["joint"]}, optimizer={"name": "lamb"}
    )
    phone = lab.phone(address, "old")
    lab.start_phones([phone], lambda *_: np.ones(8, np.float32))()
    assert server.wait_finished(20)
    before = package.weights()
    after = load_weights(server.store_dir / "weights.safetensors", package.manifest.parameters)
    np.testing.assert_array_equal(after[:4], before[:4])
    assert np.all(after[4:] > before[4:])

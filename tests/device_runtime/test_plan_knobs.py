"""Knobs that treat parameters differently, and FedProx: by hand on the tiny recogniser.

Its parameters are `weight` (6 floats) and `bias` (3): of P = 9 that train, sqrt(6/9) and sqrt(3/9)
are their shares of a norm.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedvoice.device_runtime.checkpoint import Checkpoint, checkpoint_key
from fedvoice.device_runtime.trainer import TrainingStatus, train
from fedvoice.protocol.engine import Example, make_batch
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.random import TABLE_SIZE, Purpose, Stream, normal_table
from tests.device_runtime.tiny import TinyEngine, make_examples, some_weights, tiny_manifest

PLAIN = TrainingPlan(client_rate=0.5, clip_norm=0, batch_size=1)
TABLE = tiny_manifest().parameters
WEIGHT, BIAS = (spec.place for spec in TABLE.parameters)
SHARES = {"weight": (WEIGHT, np.sqrt(6 / 9)), "bias": (BIAS, np.sqrt(3 / 9))}
INITIAL = some_weights(tiny_manifest())


def delta_of(
    plan: TrainingPlan, examples: list[Example], initial: FlatVector = INITIAL
) -> FlatVector:
    result = train(TinyEngine(), examples, plan, initial, client_id="phone", round_number=3)
    assert result.delta is not None
    return result.delta


def gradient(example: Example, at: FlatVector = INITIAL) -> FlatVector:
    engine = TinyEngine()
    bucket = engine.manifest.buckets[0]
    batch = make_batch([example], bucket, engine.manifest, weight=1.0)
    return engine.step(bucket, at, batch)[1].copy()


def plan_with(**fields: object) -> TrainingPlan:
    return TrainingPlan.model_validate({**PLAIN.model_dump(), **fields})


def test_each_parameter_is_clipped_to_its_share_of_the_norm() -> None:
    (example,) = make_examples(1)
    g = gradient(example)
    norms = {name: float(np.linalg.norm(g[part])) for name, (part, _) in SHARES.items()}
    # A bound that the weight's gradient keeps to and the bias's does not, or the other way round.
    ratios = {name: norms[name] / share for name, (_, share) in SHARES.items()}
    bound = sum(ratios.values()) / 2
    wanted = np.zeros_like(g)
    clipped = []
    for name, (part, share) in SHARES.items():
        factor = min(1, bound * share / norms[name])
        wanted[part] = -0.5 * factor * g[part]
        clipped.append(factor < 1)
    assert sorted(clipped) == [False, True]
    delta = delta_of(plan_with(clip_norm=bound, clip_per_layer=True), [example])
    np.testing.assert_allclose(delta, wanted, rtol=1e-5, atol=1e-7)


def test_updates_clipped_per_layer_stay_within_the_whole_bound() -> None:
    plan = plan_with(client_rate=50.0, max_update_norm=0.25, clip_per_layer=True)
    delta = delta_of(plan, make_examples(4))
    for part, share in SHARES.values():
        assert np.linalg.norm(delta[part]) == pytest.approx(0.25 * share, rel=1e-5)
    assert np.linalg.norm(delta) <= 0.25
    assert np.linalg.norm(delta) == pytest.approx(0.25, rel=1e-5)


def test_relative_noise_has_the_scale_of_each_parameters_weights() -> None:
    (example,) = make_examples(1)
    plan = plan_with(fvn_std=0.3, fvn_relative=True, seed=7)
    offset = (int(Stream(7, "phone", 3, Purpose.NOISE).words(1)[0]) * TABLE_SIZE) >> 32
    noise = normal_table(7)[(offset + np.arange(INITIAL.size)) % TABLE_SIZE]
    noisy = INITIAL.copy()
    for part, _ in SHARES.values():
        noisy[part] += 0.3 * np.sqrt(np.mean(INITIAL[part] ** 2)) * noise[part]
    wanted = -0.5 * gradient(example, noisy)
    np.testing.assert_allclose(delta_of(plan, [example]), wanted, rtol=1e-5, atol=1e-6)


def test_relative_noise_leaves_weights_of_zero_alone() -> None:
    (example,) = make_examples(1)
    initial = np.zeros_like(INITIAL)
    plan = plan_with(fvn_std=0.3, fvn_relative=True, seed=7)
    wanted = -0.5 * gradient(example, initial)
    np.testing.assert_allclose(delta_of(plan, [example], initial), wanted, rtol=1e-6)


EVERYTHING = plan_with(
    local_epochs=3,
    batch_size=2,
    client_momentum=0.9,
    clip_norm=0.5,
    clip_per_layer=True,
    fvn_std=0.05,
    fvn_relative=True,
    trainable=["bias"],
    prox_mu=0.3,
    max_update_norm=0.75,
    seed=11,
)


def test_frozen_parameters_do_not_move_at_all() -> None:
    for plan in (plan_with(trainable=["bia"], fvn_std=0.1), EVERYTHING):
        delta = delta_of(plan, make_examples(5))
        assert not delta[WEIGHT].any()
        assert delta[BIAS].all()


def test_what_trains_trains_as_if_it_were_the_whole_model() -> None:
    """No noise reaches the frozen weights, and their gradient takes no part of the clip norm."""
    (example,) = make_examples(1)
    plan = plan_with(trainable=["bias"], fvn_std=0.3, seed=7, clip_norm=0.1)
    offset = (int(Stream(7, "phone", 3, Purpose.NOISE).words(1)[0]) * TABLE_SIZE) >> 32
    noise = normal_table(7)[(offset + np.arange(INITIAL.size)) % TABLE_SIZE]
    noisy = INITIAL.copy()
    noisy[BIAS] += 0.3 * noise[BIAS]
    g = gradient(example, noisy)[BIAS]
    assert np.linalg.norm(g) > 0.1
    wanted = -0.5 * 0.1 * g / np.linalg.norm(g)
    np.testing.assert_allclose(delta_of(plan, [example])[BIAS], wanted, rtol=1e-5)


def test_a_prefix_of_no_parameter_is_refused_by_name() -> None:
    with pytest.raises(FedvoiceError) as caught:
        delta_of(plan_with(trainable=["bias", "encoder."]), make_examples(1))
    assert caught.value.code is ErrorCode.BAD_CONFIG
    assert "'encoder.'" in str(caught.value)
    assert "weight" in str(caught.value)


def test_fedprox_pulls_back_to_the_rounds_start() -> None:
    """Two steps on one example: the second has mu (w - w_initial) = -mu rate g_1 on top."""
    (example,) = make_examples(1)
    first = gradient(example)
    second = gradient(example, INITIAL - np.float32(0.5) * first)
    plan = plan_with(prox_mu=0.4, local_epochs=2)
    wanted = -0.5 * (first + second - 0.4 * 0.5 * first)
    np.testing.assert_allclose(delta_of(plan, [example]), wanted, rtol=1e-5, atol=1e-6)


def test_a_stronger_pull_gives_a_smaller_update() -> None:
    plans = [plan_with(prox_mu=mu, local_epochs=20) for mu in (0.0, 0.1, 1.0)]
    norms = [float(np.linalg.norm(delta_of(plan, make_examples(6)))) for plan in plans]
    assert norms == sorted(norms, reverse=True)
    assert norms[2] < norms[0] / 2


def test_fedprox_keeps_one_vector_more_and_frozen_parameters_save_none() -> None:
    def planned(**fields: object) -> int:
        plan = plan_with(**fields)
        naming = {"client_id": "phone", "round_number": 3}
        result = train(TinyEngine(), make_examples(1), plan, INITIAL, **naming)  # type: ignore[arg-type]
        return result.statistics.planned_memory_bytes

    assert planned(prox_mu=0.1) == planned() + TABLE.weights_bytes
    assert planned(trainable=["bias"], clip_per_layer=True) == planned()


def test_training_with_every_knob_resumes_to_the_same_bits(tmp_path: Path) -> None:
    examples = make_examples(10)
    whole = delta_of(EVERYTHING, examples)
    checkpoint = Checkpoint(tmp_path / "checkpoint", every_secs=0)
    polls = iter(range(100))

    def run(**more: object) -> object:
        naming = {"client_id": "phone", "round_number": 3, "checkpoint": checkpoint}
        return train(TinyEngine(), examples, EVERYTHING, INITIAL, **naming, **more)  # type: ignore[arg-type]

    stopped = run(should_stop=lambda: next(polls) == 5)
    assert stopped.status is TrainingStatus.STOPPED  # type: ignore[attr-defined]
    resumed = run()
    assert resumed.delta.tobytes() == whole.tobytes()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "change",
    [{"clip_per_layer": True}, {"fvn_relative": True}, {"trainable": ["b"]}, {"prox_mu": 0.1}],
)
def test_a_checkpoint_of_another_knob_is_of_other_work(change: dict[str, object]) -> None:
    facts = {"program_digest": "0" * 64, "client_id": "phone", "round_number": 3}
    keys = {
        checkpoint_key(plan, INITIAL, [(3, 1)], **facts)  # type: ignore[arg-type]
        for plan in (PLAIN, plan_with(**change))
    }
    assert len(keys) == 2

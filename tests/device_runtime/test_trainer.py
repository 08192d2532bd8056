"""Local training: the laws, with numbers that can be done by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedvoice.device_runtime.checkpoint import Checkpoint
from fedvoice.device_runtime.trainer import LocalResult, TrainingStatus, train
from fedvoice.protocol.engine import Example, make_batch
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import SpecAugment, TrainingPlan
from fedvoice.protocol.random import TABLE_SIZE, Purpose, Stream, normal_table
from tests.device_runtime.tiny import TinyEngine, make_examples, some_weights, tiny_manifest

PLAIN = TrainingPlan(client_rate=0.5, clip_norm=0, batch_size=1)


def run(
    engine: TinyEngine,
    examples: list[Example],
    plan: TrainingPlan,
    initial: FlatVector,
    **more: object,
) -> LocalResult:
    arguments: dict[str, object] = {"client_id": "phone", "round_number": 3, **more}
    return train(engine, examples, plan, initial, **arguments)  # type: ignore[arg-type]


def mean_gradient(engine: TinyEngine, examples: list[Example], at: FlatVector) -> FlatVector:
    """Gradient of the mean loss, example by example in float64."""
    total = np.zeros(at.size, dtype=np.float64)
    bucket = engine.manifest.buckets[-1]
    for example in examples:
        batch = make_batch([example], bucket, engine.manifest, weight=1.0)
        total += engine.step(bucket, at, batch)[1]
    return (total / len(examples)).astype(np.float32)


@pytest.mark.parametrize(
    ("plan", "uses_all"),
    [
        (PLAIN.model_copy(update={"data_limit": 1, "batch_size": 1}), False),
        (PLAIN.model_copy(update={"data_limit": 0, "batch_size": 0}), True),
    ],
    ids=["L=1,b=1,e=1", "e=1,b=inf,L=inf"],
)
def test_law_6_fedavg_with_one_step_equals_fedsgd(plan: TrainingPlan, uses_all: bool) -> None:
    engine = TinyEngine(tiny_manifest(buckets=((2, 2), (4, 4))))
    initial = some_weights(engine.manifest)
    clients = {f"phone-{k}": make_examples(2 + 3 * k, seed=k, frames=1 + k) for k in range(4)}

    results = {
        name: run(engine, data, plan, initial, client_id=name) for name, data in clients.items()
    }
    examples = sum(r.statistics.examples for r in results.values())
    averaged = initial + sum(
        (r.statistics.examples / examples) * r.delta
        for r in results.values()
        if r.delta is not None
    )

    if uses_all:
        pooled = [example for data in clients.values() for example in data]
    else:
        pooled = []
        for name, data in clients.items():
            chosen = Stream(plan.seed, name, 3, Purpose.DATA_LIMIT).permutation(len(data))[0]
            pooled.append(data[chosen])
    fedsgd = initial - np.float32(plan.client_rate) * mean_gradient(engine, pooled, initial)
    assert all(r.statistics.steps == 1 for r in results.values())
    assert examples == len(pooled)
    np.testing.assert_allclose(averaged, fedsgd, rtol=2e-6, atol=2e-7)


def test_gradient_is_clipped_to_the_global_norm() -> None:
    engine = TinyEngine()
    initial = some_weights(engine.manifest)
    examples = make_examples(1)
    gradient = mean_gradient(engine, examples, initial)
    bound = float(np.linalg.norm(gradient)) / 4
    result = run(engine, examples, PLAIN.model_copy(update={"clip_norm": bound}), initial)
    assert result.delta is not None
    np.testing.assert_allclose(result.delta, -0.5 * gradient / 4, rtol=1e-5, atol=1e-7)
    loose = run(engine, examples, PLAIN.model_copy(update={"clip_norm": 100.0}), initial)
    assert loose.delta is not None
    np.testing.assert_allclose(loose.delta, -0.5 * gradient, rtol=1e-5, atol=1e-7)


def test_momentum_carries_the_last_gradient_on() -> None:
    engine = TinyEngine()
    initial = some_weights(engine.manifest)
    examples = make_examples(1)
    plan = PLAIN.model_copy(update={"client_momentum": 0.5, "local_epochs": 2})
    first = mean_gradient(engine, examples, initial)
    second = mean_gradient(engine, examples, initial - np.float32(0.5) * first)
    result = run(engine, examples, plan, initial)
    assert result.delta is not None
    np.testing.assert_allclose(
        result.delta, -0.5 * first - 0.5 * (0.5 * first + second), rtol=1e-5, atol=1e-6
    )


def test_fvn_takes_the_gradient_at_the_noisy_point_and_steps_from_the_clean_one() -> None:
    engine = TinyEngine()
    initial = some_weights(engine.manifest)
    examples = make_examples(1)
    plan = PLAIN.model_copy(update={"fvn_std": 0.3, "seed": 7})
    offset = (int(Stream(7, "phone", 3, Purpose.NOISE).words(1)[0]) * TABLE_SIZE) >> 32
    places = (offset + np.arange(initial.size)) % TABLE_SIZE
    noisy = initial + np.float32(0.3) * normal_table(7)[places]
    result = run(engine, examples, plan, initial)
    assert result.delta is not None
    expected = -0.5 * mean_gradient(engine, examples, noisy)
    np.testing.assert_allclose(result.delta, expected, rtol=1e-5, atol=1e-6)
    clean = run(engine, examples, PLAIN, initial)
    assert clean.delta is not None
    assert np.abs(clean.delta - result.delta).max() > 1e-3


def test_a_batch_over_several_calls_is_the_mean_over_its_examples() -> None:
    """b = 7 over buckets of 2 and 4 rows: gradients add up to those of one batch."""
    engine = TinyEngine(tiny_manifest(buckets=((2, 2), (4, 4))))
    initial = some_weights(engine.manifest)
    examples = make_examples(5, frames=2) + make_examples(6, seed=5, frames=4)
    result = run(engine, examples, PLAIN.model_copy(update={"batch_size": 0}), initial)
    assert result.delta is not None
    assert engine.calls == 3 + 2
    assert result.statistics.steps == 1
    expected = -0.5 * mean_gradient(engine, examples, initial)
    np.testing.assert_allclose(result.delta, expected, rtol=1e-5, atol=1e-6)


def test_a_larger_update_is_scaled_down_to_the_plans_norm() -> None:
    engine = TinyEngine()
    initial = some_weights(engine.manifest)
    plan = PLAIN.model_copy(update={"client_rate": 50.0, "max_update_norm": 0.25})
    result = run(engine, make_examples(4), plan, initial)
    assert result.delta is not None
    assert np.linalg.norm(result.delta) == pytest.approx(0.25, rel=1e-5)
    assert np.linalg.norm(result.delta) <= 0.25


EVERYTHING = TrainingPlan(
    local_epochs=3,
    batch_size=2,
    data_limit=7,
    client_momentum=0.9,
    fvn_std=0.05,
    clip_norm=0.5,
    spec_augment=SpecAugment(
        time_masks=1, time_mask_frames=2, frequency_masks=1, frequency_mask_bins=1
    ),
    seed=11,
)


@pytest.mark.parametrize("stop_after", [0, 1, 5, 11])
def test_resumed_training_gives_the_same_bits(tmp_path: Path, stop_after: int) -> None:
    engine = TinyEngine()
    initial = some_weights(engine.manifest)
    examples = make_examples(10)
    whole = run(engine, examples, EVERYTHING, initial)

    polls = iter(range(100))
    checkpoint = Checkpoint(tmp_path / "checkpoint", every_secs=0)
    stopped = run(
        engine,
        examples,
        EVERYTHING,
        initial,
        checkpoint=checkpoint,
        should_stop=lambda: next(polls) == stop_after,
    )
    assert stopped.status is TrainingStatus.STOPPED
    assert stopped.delta is None
    assert stopped.statistics.steps == stop_after

    before = engine.calls
    resumed = run(TinyEngine(), examples, EVERYTHING, initial, checkpoint=checkpoint)
    assert whole.delta is not None
    assert resumed.delta is not None
    assert resumed.delta.tobytes() == whole.delta.tobytes()
    assert resumed.statistics.loss == whole.statistics.loss
    assert resumed.statistics.steps == whole.statistics.steps == 12
    assert engine.calls == before


def test_resuming_repeats_no_step_that_the_checkpoint_holds(tmp_path: Path) -> None:
    initial = some_weights(tiny_manifest())
    examples = make_examples(10)
    checkpoint = Checkpoint(tmp_path / "checkpoint", every_secs=0)

    class DiesAtStep(TinyEngine):
        def step(self, bucket, weights, batch):  # type: ignore[no-untyped-def]
            if self.calls == 5:
                raise SystemExit("kill -9")
            return super().step(bucket, weights, batch)

    with pytest.raises(SystemExit):
        run(DiesAtStep(), examples, EVERYTHING, initial, checkpoint=checkpoint)
    engine = TinyEngine()
    run(engine, examples, EVERYTHING, initial, checkpoint=checkpoint)
    assert engine.calls == 12 - 5


def test_a_checkpoint_of_other_work_or_damaged_is_ignored(tmp_path: Path) -> None:
    engine = TinyEngine()
    initial = some_weights(engine.manifest)
    examples = make_examples(10)
    path = tmp_path / "checkpoint"
    checkpoint = Checkpoint(path, every_secs=0)
    fresh = run(engine, examples, EVERYTHING, initial, round_number=4)
    assert fresh.delta is not None

    def stop_at(step: int) -> None:
        polls = iter(range(100))
        run(
            engine,
            examples,
            EVERYTHING,
            initial,
            checkpoint=checkpoint,
            should_stop=lambda: next(polls) == step,
            round_number=3,
        )

    stop_at(5)
    other_round = run(engine, examples, EVERYTHING, initial, checkpoint=checkpoint, round_number=4)
    assert other_round.delta is not None
    assert other_round.delta.tobytes() == fresh.delta.tobytes()

    stop_at(5)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    before = engine.calls
    run(engine, examples, EVERYTHING, initial, checkpoint=checkpoint, round_number=3)
    assert engine.calls - before == 12


def test_a_diverged_run_sends_no_update() -> None:
    engine = TinyEngine()
    initial = some_weights(engine.manifest)
    examples = make_examples(3)
    examples[1].features[0, 0] = np.nan
    result = run(engine, examples, PLAIN, initial)
    assert result.status is TrainingStatus.DIVERGED
    assert result.delta is None
    assert "nan" in result.detail


def test_examples_too_long_or_unreadable_are_skipped_and_counted() -> None:
    engine = TinyEngine()
    initial = some_weights(engine.manifest)
    fine = make_examples(2)

    class Shelf(list[Example]):
        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            if index == 2:
                raise FedvoiceError(
                    ErrorCode.UNREADABLE_AUDIO, where="", got="", wanted="", next_step=""
                )
            return super().__getitem__(index)

    shelf = Shelf([*fine, fine[0], *make_examples(1, frames=5)])
    result = run(engine, shelf, PLAIN, initial)
    assert result.status is TrainingStatus.COMPLETED
    assert (result.statistics.examples, result.statistics.skipped_examples) == (2, 2)
    none_left = run(engine, make_examples(3, frames=9), PLAIN, initial)
    assert none_left.status is TrainingStatus.NO_EXAMPLES
    assert none_left.delta is None


def test_planned_memory_counts_each_vector_that_the_plan_makes_necessary() -> None:
    manifest = tiny_manifest(buckets=((2, 2), (4, 4)))
    weights_bytes = 4 * manifest.parameters.total_size
    initial = some_weights(manifest)

    def planned(examples: list[Example], **plan: object) -> int:
        chosen = PLAIN.model_copy(update=plan)
        return run(TinyEngine(manifest), examples, chosen, initial).statistics.planned_memory_bytes

    short = make_examples(3, frames=2)
    assert planned(short) == weights_bytes + 2000
    assert planned(make_examples(3, frames=3)) == weights_bytes + 4000
    assert planned(short, client_momentum=0.5) == 2 * weights_bytes + 2000
    assert planned(short, client_momentum=0.5, fvn_std=0.1) == 3 * weights_bytes + 2000
    assert planned(short, batch_size=0) == 2 * weights_bytes + 2000


def test_loss_is_the_mean_over_examples_whatever_the_batches() -> None:
    """With a rate too small to move anything, batches of 2 + 1 still average over three."""
    engine = TinyEngine()
    initial = some_weights(engine.manifest)
    plan = PLAIN.model_copy(update={"batch_size": 2, "client_rate": 1e-12})
    examples = make_examples(3)
    losses = [run(engine, [e], plan, initial).statistics.loss for e in examples]
    assert run(engine, examples, plan, initial).statistics.loss == pytest.approx(np.mean(losses))

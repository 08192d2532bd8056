"""The stock ExecuTorch runtime: a real program, exported once, and what it must refuse."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fedvoice.device_runtime.checkpoint import Checkpoint
from fedvoice.device_runtime.evaluation import evaluate
from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.trainer import TrainingStatus, train
from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
from fedvoice.model_export.kinds.encoder import EncoderConfig
from fedvoice.model_export.kinds.rnnt import RnntConfig
from fedvoice.model_export.torch_engine import TorchEngine
from fedvoice.protocol.engine import Example, make_batch
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.plan import SpecAugment, TrainingPlan
from fedvoice.protocol.task import PROGRAM_FILE, FeatureSettings, TaskPackage
from tests.shared import exported

pytestmark = pytest.mark.slow
torch.set_num_threads(1)

EVERYTHING = TrainingPlan(
    local_epochs=2,
    batch_size=3,
    data_limit=9,
    client_rate=0.5,
    client_momentum=0.5,
    clip_norm=1.0,
    fvn_std=0.05,
    spec_augment=SpecAugment(time_masks=1, time_mask_frames=4),
    seed=5,
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> TaskPackage:
    config = ExportConfig(
        name="tiny",
        model=RnntConfig(
            encoder=EncoderConfig(layers=1, hidden_size=8, bidirectional=True),
            embedding_size=4,
            predictor_size=6,
            joint_size=7,
        ),
        features=FeatureSettings(mel_bins=6, stack=2, max_secs=2.0),
        vocabulary=VocabularyConfig(tokens=("up", "down", "left", "right", "go")),
        buckets=(
            BucketConfig(frames=6, labels=2, batch=2),
            BucketConfig(frames=10, labels=3, batch=4),
        ),
    )
    return exported(config, tmp_path_factory).package


@pytest.fixture(scope="module")
def engine(package: TaskPackage) -> ExecuTorchEngine:
    return ExecuTorchEngine(package)


def some_examples(package: TaskPackage, count: int = 12) -> list[Example]:
    """Utterances for both buckets, seeded."""
    random = np.random.default_rng(3)
    bins = package.manifest.features.mel_bins
    return [
        Example(
            random.normal(size=(int(random.integers(8, 20)), bins)).astype(np.float32),
            [int(t) for t in random.integers(1, 6, size=int(random.integers(1, 3)))],
        )
        for _ in range(count)
    ]


def test_the_same_plan_gives_the_same_update_as_eager_pytorch(
    package: TaskPackage, engine: ExecuTorchEngine
) -> None:
    """Law 9, two engines: momentum, clipping, FVN, masks, two buckets, within 1e-4."""
    examples, initial = some_examples(package), package.weights()
    phone = train(engine, examples, EVERYTHING, initial, client_id="a", round_number=1)
    eager = train(
        TorchEngine(package.manifest),
        examples,
        EVERYTHING,
        initial,
        client_id="a",
        round_number=1,
    )
    assert phone.delta is not None
    assert eager.delta is not None
    difference = np.linalg.norm(phone.delta - eager.delta) / np.linalg.norm(eager.delta)
    assert difference < 1e-4
    assert phone.statistics.loss == pytest.approx(eager.statistics.loss, rel=1e-4)
    assert phone.statistics.steps == eager.statistics.steps
    largest = max(bucket.step_arena_bytes for bucket in package.manifest.buckets)
    # Weights, momentum, noisy weights, and the sum over the calls of a batch: b = 3 over B = 2.
    assert phone.statistics.planned_memory_bytes == largest + 4 * 4 * initial.size


def test_resumed_training_gives_the_same_bits_on_the_runtime(
    package: TaskPackage, engine: ExecuTorchEngine, tmp_path: Path
) -> None:
    examples, initial = some_examples(package), package.weights()
    whole = train(engine, examples, EVERYTHING, initial, client_id="a", round_number=1)
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    polls = iter(range(100))
    stopped = train(
        engine,
        examples,
        EVERYTHING,
        initial,
        client_id="a",
        round_number=1,
        checkpoint=checkpoint,
        should_stop=lambda: next(polls) == 3,
    )
    assert stopped.status is TrainingStatus.STOPPED
    resumed = train(
        ExecuTorchEngine(package),
        examples,
        EVERYTHING,
        initial,
        client_id="a",
        round_number=1,
        checkpoint=checkpoint,
    )
    assert whole.delta is not None
    assert resumed.delta is not None
    assert resumed.delta.tobytes() == whole.delta.tobytes()


def test_weights_are_read_in_place(package: TaskPackage, engine: ExecuTorchEngine) -> None:
    """What is written to the vector is what the next step sees, without another copy."""
    weights = package.weights()
    bucket = package.manifest.buckets[1]
    batch = make_batch(some_examples(package, 3), bucket, package.manifest, weight=1 / 3)
    first, gradient = engine.step(bucket, weights, batch)
    weights -= 0.1 * gradient
    second, _ = engine.step(bucket, weights, batch)
    fresh, _ = engine.step(bucket, weights.copy(), batch)
    assert second < first
    assert second == fresh


def test_features_and_transcripts_agree_with_eager_pytorch(
    package: TaskPackage, engine: ExecuTorchEngine
) -> None:
    reference = TorchEngine(package.manifest)
    random = np.random.default_rng(0)
    for samples in (512, 700, 5000, 16000):
        waveform = (random.normal(size=samples) * 0.1).astype(np.float32)
        mel = engine.features(waveform)
        assert mel.shape == (package.manifest.features.frames(samples), 6)
        np.testing.assert_allclose(mel, reference.features(waveform), atol=5e-4)
    examples, weights = some_examples(package), package.weights()
    mine, theirs = (evaluate(e, examples, weights) for e in (engine, reference))
    assert mine is not None
    assert theirs is not None
    assert mine.word_errors == theirs.word_errors
    assert mine.words == sum(len(e.targets) for e in examples)
    assert mine.planned_memory_bytes >= 4 * weights.size


def test_wrong_shapes_are_refused_before_they_reach_the_runtime(
    package: TaskPackage, engine: ExecuTorchEngine
) -> None:
    small, large = package.manifest.buckets
    batch = make_batch(some_examples(package, 1), large, package.manifest, weight=1.0)
    weights = package.weights()
    calls = (
        lambda: engine.step(small, weights, batch),
        lambda: engine.step(large, weights[:-4], batch),
        lambda: engine.decode(small, weights, batch.features, batch.frame_counts),
        lambda: engine.features(np.zeros(511, dtype=np.float32)),
        lambda: engine.features(np.zeros(40000, dtype=np.float32)),
    )
    for call in calls:
        with pytest.raises(FedvoiceError) as caught:
            call()
        assert caught.value.code is ErrorCode.WRONG_SHAPE


def damaged_copy(package: TaskPackage, directory: Path, change: dict[str, object]) -> TaskPackage:
    shutil.copytree(package.directory, directory)
    return TaskPackage(directory, package.manifest.model_copy(update=change))


@pytest.mark.parametrize("cut", [100, None], ids=["flipped byte", "truncated"])
def test_a_damaged_program_is_never_loaded(
    package: TaskPackage, tmp_path: Path, cut: int | None
) -> None:
    copy = damaged_copy(package, tmp_path / "task", {})
    data = bytearray(copy.program_path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    copy.program_path.write_bytes(data[:cut])
    with pytest.raises(FedvoiceError) as caught:
        ExecuTorchEngine(copy)
    assert caught.value.code is ErrorCode.WRONG_DIGEST
    copy.program_path.unlink()
    with pytest.raises(FedvoiceError, match=PROGRAM_FILE) as caught:
        ExecuTorchEngine(copy)
    assert caught.value.code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"operators": ("aten::teleport.out",)}, "teleport"),
        ({"delegates": ("AbacusBackend",)}, "AbacusBackend"),
    ],
)
def test_what_the_runtime_lacks_is_named(
    package: TaskPackage, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    with pytest.raises(FedvoiceError, match=named) as caught:
        ExecuTorchEngine(damaged_copy(package, tmp_path / "task", change))
    assert caught.value.code is ErrorCode.MISSING_OPERATOR


def test_the_thread_pool_is_set_once(package: TaskPackage, engine: ExecuTorchEngine) -> None:
    with pytest.raises(FedvoiceError) as caught:
        ExecuTorchEngine(package, threads=2)
    assert caught.value.code is ErrorCode.BAD_CONFIG

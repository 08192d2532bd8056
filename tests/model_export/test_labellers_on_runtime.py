"""Frame labellers' packages on the real ExecuTorch runtime, against eager PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedvoice.device_runtime.evaluation import evaluate
from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.trainer import train
from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
from fedvoice.model_export.kinds.char_lstm import CharLstmConfig
from fedvoice.model_export.kinds.cnn import CnnConfig
from fedvoice.model_export.kinds.two_layer import TwoLayerConfig
from fedvoice.model_export.package import ExportSummary
from fedvoice.model_export.torch_engine import TorchEngine
from fedvoice.protocol.engine import Example, make_batch
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import FeatureSettings, TaskManifest
from fedvoice.protocol.vocabulary import TargetKind
from tests.shared import exported as export_once

torch.set_num_threads(1)

DIGITS = VocabularyConfig(tokens=("zero", "one", "two", "three", "four"), as_given=True)
LETTERS = VocabularyConfig(kind=TargetKind.CHARACTER, tokens=tuple("a Bc\n"), as_given=True)
CONFIGS = {
    "2nn": ExportConfig(
        name="tiny-2nn",
        model=TwoLayerConfig(hidden_size=6),
        features=FeatureSettings(mel_bins=4, stack=4),
        vocabulary=DIGITS,
        buckets=(BucketConfig(frames=1, labels=1, batch=4),),
    ),
    "cnn": ExportConfig(
        name="tiny-cnn",
        model=CnnConfig(channels1=2, channels2=3, dense_size=5),
        features=FeatureSettings(mel_bins=8, stack=8),
        vocabulary=DIGITS,
        buckets=(BucketConfig(frames=1, labels=1, batch=3),),
    ),
    "char-lstm": ExportConfig(
        name="tiny-char-lstm",
        model=CharLstmConfig(embedding_size=3, hidden_size=5, layers=2),
        features=FeatureSettings(mel_bins=1, stack=1),
        vocabulary=LETTERS,
        buckets=(BucketConfig(frames=6, labels=6, batch=3),),
    ),
}
PLAN = TrainingPlan(local_epochs=2, batch_size=4, client_rate=0.3, client_momentum=0.5, seed=3)


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ExportSummary:
    """Each tiny task, exported once."""
    return export_once(CONFIGS[request.param], tmp_path_factory)


def some_examples(manifest: TaskManifest, count: int = 10) -> list[Example]:
    """Images with a label, or ragged windows of characters with those that follow; seeded."""
    random = np.random.default_rng(1)
    if manifest.model_kind == "char-lstm":
        texts = [random.integers(1, 6, int(random.integers(3, 8))) for _ in range(count)]
        return [Example(t[:-1].astype(np.float32)[:, None], t[1:].tolist()) for t in texts]
    shape = (manifest.features.stack, manifest.features.mel_bins)
    return [
        Example(random.random(shape, dtype=np.float32), [int(random.integers(1, 6))])
        for _ in range(count)
    ]


def test_law_8_gradients_are_right_on_consecutive_calls(exported: ExportSummary) -> None:
    package = exported.package
    engine, reference = ExecuTorchEngine(package), TorchEngine(package.manifest)
    weights, bucket = package.weights(), package.manifest.buckets[0]
    views = package.manifest.parameters.views
    examples = some_examples(package.manifest)
    for start in (0, 3, 6):
        rows = examples[start : start + bucket.batch - start % 2]  # once a padding row
        batch = make_batch(rows, bucket, package.manifest, weight=1 / len(rows))
        loss, gradient = engine.step(bucket, weights, batch)
        wanted_loss, wanted = reference.step(bucket, weights, batch)
        assert loss == pytest.approx(wanted_loss, rel=1e-5)
        for got, want in zip(views(gradient), views(wanted), strict=True):
            assert np.abs(got - want).max() <= 2e-4 * np.abs(want).max()
        weights = weights - 0.1 * gradient


def test_law_9_the_same_plan_gives_the_same_update_and_tokens_as_eager_pytorch(
    exported: ExportSummary,
) -> None:
    package = exported.package
    examples, initial = some_examples(package.manifest), package.weights()
    engines = (ExecuTorchEngine(package), TorchEngine(package.manifest))
    phone, eager = (
        train(engine, examples, PLAN, initial, client_id="a", round_number=1) for engine in engines
    )
    assert phone.delta is not None
    assert eager.delta is not None
    assert np.linalg.norm(eager.delta) > 0
    difference = np.linalg.norm(phone.delta - eager.delta) / np.linalg.norm(eager.delta)
    assert difference < 1e-4
    assert phone.statistics.steps == eager.statistics.steps == 6  # 10 examples by 4, twice
    trained = initial + phone.delta
    here, there = (evaluate(engine, examples, trained) for engine in engines)
    assert here is not None
    assert there is not None
    assert (here.word_errors, here.words) == (there.word_errors, there.words)


def test_one_token_is_said_of_each_frame(exported: ExportSummary) -> None:
    package = exported.package
    bucket, manifest = package.manifest.buckets[0], package.manifest
    batch = make_batch(some_examples(manifest, 3), bucket, manifest, weight=1 / 3)
    said = ExecuTorchEngine(package).decode(
        bucket, package.weights(), batch.features, batch.frame_counts
    )
    assert [len(row) for row in said] == batch.frame_counts.tolist()
    assert all(1 <= token < manifest.vocabulary.size for row in said for token in row)


def test_a_package_without_a_front_end_refuses_recordings(exported: ExportSummary) -> None:
    package = exported.package
    assert exported.features_error is None
    assert not package.manifest.takes_audio
    waveform = np.zeros(16000, dtype=np.float32)
    for engine in (ExecuTorchEngine(package), TorchEngine(package.manifest)):
        with pytest.raises(FedvoiceError, match="no front end") as caught:
            engine.features(waveform)
        assert caught.value.code is ErrorCode.BAD_PACKAGE

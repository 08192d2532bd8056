"""Law 9 for a brought module that takes `waveform`: the Kotlin phone trains from recordings as the
Python phone does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from fedvoice.device_runtime.course import draw_course
from fedvoice.device_runtime.evaluation import evaluate
from fedvoice.device_runtime.examples import FeatureCache, LocalExamples
from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.store import ExampleStore, NewExample, Split
from fedvoice.device_runtime.trainer import train
from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.features import Normalise
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.plan import SpecAugment, TrainingPlan
from fedvoice.protocol.task import PROGRAM_FILE, WEIGHTS_FILE, TaskPackage, write_package
from tests.android.jvm import ask, needs_phone, training_job
from tests.android.tones import ear_config, record_tones, tone
from tests.shared import exported, once

pytestmark = [pytest.mark.slow, needs_phone]
torch.set_num_threads(1)

PLAN = TrainingPlan(
    batch_size=3, local_epochs=2, client_rate=0.05, clip_norm=1.0, fvn_std=0.01, seed=5
)
NAMING: dict[str, Any] = {"client_id": "phone-é", "round_number": 3}


def recordings() -> list[tuple[Float32Array, int, str]]:
    """Nine for the bucket, one that is too long, and one that is found to be silent."""
    words = [("low", "high")[i % 2] for i in range(9)]
    found = [(tone(word, 0.1 + 0.015 * i, i), 16000, word) for i, word in enumerate(words)]
    found.insert(3, (tone("low", 2.0, 3), 16000, "low"))
    found.insert(5, (np.zeros(2000, np.float32), 16000, "low"))
    return found


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> TaskPackage:
    folder = once(tmp_path_factory, "tones", lambda folder: record_tones(folder))
    return exported(ear_config(folder / "manifest.jsonl"), tmp_path_factory).package


@pytest.fixture(params=list(Normalise))
def task(request: pytest.FixtureRequest, package: TaskPackage, tmp_path: Path) -> TaskPackage:
    """The package with each normalisation: its program is the same."""
    features = package.manifest.features.model_copy(update={"normalise": request.param})
    manifest = package.manifest.model_copy(update={"features": features})
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / WEIGHTS_FILE).write_bytes(package.weights_path.read_bytes())
    program = (package.directory / PROGRAM_FILE).read_bytes()
    assert digest_of(program) == manifest.program_digest
    return write_package(folder, manifest, program)


@pytest.fixture
def examples(task: TaskPackage, tmp_path: Path) -> LocalExamples:
    """As the Python phone makes them of sound files."""
    store = ExampleStore(tmp_path / "examples.sqlite")
    for i, (wave, rate, text) in enumerate(recordings()):
        soundfile.write(tmp_path / f"{i}.wav", wave, rate, subtype="FLOAT")
        store.add(NewExample(tmp_path / f"{i}.wav", text))
    return LocalExamples(ExecuTorchEngine(task), store, store.examples(Split.TRAIN), FeatureCache())


def test_law_9_both_phones_train_from_a_waveform_alike(
    task: TaskPackage, examples: LocalExamples, tmp_path: Path
) -> None:
    engine, weights = ExecuTorchEngine(task), task.weights()
    # Weights far from the start, so that something is said.
    far = np.random.default_rng(0).normal(size=weights.size).astype(np.float32)
    sounds = recordings()
    asked = training_job(tmp_path / "job", task, PLAN, weights, sounds, **NAMING)
    usable = [sound for sound in sounds if sound[0].any()]
    heard = training_job(tmp_path / "heard", task, PLAN, far, usable, **NAMING)
    answers = ask(
        tmp_path / "answers",
        [
            {"kind": "course", "id": "course", "job": asked},
            {"kind": "training", "id": "training", "job": asked},
            {"kind": "recognition", "id": "heard", "job": heard},
        ],
    )
    assert (len(examples), examples.skipped) == (10, 1)
    course = draw_course(task.manifest, examples, PLAN, **NAMING)
    assert answers.facts["course"]["used"] == course.used
    assert answers.facts["course"]["skipped"] == course.skipped == 1
    assert answers.facts["course"]["steps"] == [[e, batch] for e, batch in course.steps]

    mine = train(engine, examples, PLAN, weights, **NAMING)
    assert mine.delta is not None
    theirs = answers.floats("training", "delta")
    assert np.linalg.norm(theirs - mine.delta) < 1e-4 * np.linalg.norm(mine.delta)
    statistics = pb.Statistics.FromString(answers.bytes_of("training", "statistics"))
    assert statistics.loss == pytest.approx(mine.statistics.loss, rel=1e-4)
    for field in ("examples", "steps", "planned_memory_bytes", "skipped_examples"):
        assert getattr(statistics, field) == getattr(mine.statistics, field), field

    counts = evaluate(engine, [examples[i] for i in course.used], far)
    assert counts is not None
    assert any(answers.facts["heard"]["ids"]), "nothing was said: the comparison would be empty"
    for field in ("word_errors", "words", "char_errors", "chars", "utterances"):
        assert answers.facts["heard"][field] == getattr(counts, field), field


def test_both_phones_refuse_masks_of_a_waveform_alike(package: TaskPackage, tmp_path: Path) -> None:
    masks = SpecAugment(time_masks=2, time_mask_frames=100)
    plan = PLAN.model_copy(update={"spec_augment": masks})
    asked = training_job(tmp_path, package, plan, package.weights(), recordings()[:2], **NAMING)
    answers = ask(tmp_path / "answers", [{"kind": "training", "id": "masked", "job": asked}])
    with pytest.raises(FedvoiceError) as caught:
        train(ExecuTorchEngine(package), [], plan, package.weights(), **NAMING)
    theirs = answers.facts["masked"]["error"]
    assert theirs["code"] == caught.value.code.value
    for part in ("where", "got", "wanted"):
        assert theirs[part] == getattr(caught.value, part)

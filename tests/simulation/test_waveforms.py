"""A brought module that takes `waveform` trains from recordings, on every engine alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import fedvoice
from fedvoice.data.audio import read_waveform
from fedvoice.data.speech import SpeechCorpus
from fedvoice.device_runtime.evaluation import evaluate
from fedvoice.device_runtime.examples import FeatureCache, LocalExamples
from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.store import ExampleStore, NewExample, Split
from fedvoice.device_runtime.trainer import train
from fedvoice.model_export.config import parse_config
from fedvoice.model_export.package import ExportSummary
from fedvoice.model_export.torch_engine import TorchEngine
from fedvoice.protocol.engine import Example, make_batch
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.features import Normalise
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.plan import SpecAugment, TrainingPlan
from fedvoice.protocol.task import FeatureSettings
from fedvoice.server.config import ServerConfig
from fedvoice.server.rounds.job import Job
from fedvoice.simulation.fast.trainer import FastTrainer
from fedvoice.simulation.populations import build_population
from fedvoice.simulation.speech import FeatureLibrary
from tests.android.tones import EAR, ear_config, record_tones, tone
from tests.shared import exported, once

torch.set_num_threads(1)
PLAN = TrainingPlan(batch_size=4, local_epochs=2, client_rate=0.05, clip_norm=1.0)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = once(tmp_path_factory, "tones", lambda folder: record_tones(folder))
    return folder / "manifest.jsonl"


@pytest.fixture(scope="module")
def task(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportSummary:
    return exported(ear_config(manifest), tmp_path_factory)


def test_what_a_person_does_not_say_is_told_by_the_class(task: ExportSummary) -> None:
    """No mel_bins, no stack: frames are samples, and buckets hold all recordings."""
    manifest = task.package.manifest
    settings = manifest.features
    assert settings.is_waveform
    assert settings.normalise == "utterance"
    assert (settings.stack * settings.mel_bins, settings.frames(2000)) == (1, 2000)
    (bucket,) = manifest.buckets
    assert bucket.frames % 800 == 0  # a twentieth of a second
    assert 0.2 * 16000 < bucket.frames <= 0.3 * 16000
    assert task.features_error is None
    assert manifest.takes_audio
    assert not manifest.has_features


@pytest.mark.slow
def test_law_9_a_phone_and_the_fast_engine_train_alike_from_recordings(
    task: ExportSummary, manifest: Path, tmp_path: Path
) -> None:
    """From the same WAV files, one of them at another rate: update, loss, memory and errors."""
    package, corpus = task.package, SpeechCorpus(manifest=manifest)
    engine, fast = ExecuTorchEngine(package), FastTrainer(package.manifest)
    population = build_population(
        corpus, package.manifest, 0, FeatureLibrary(package.manifest.features)
    )
    store = ExampleStore(tmp_path / "examples.sqlite")
    for utterance in corpus.utterances():
        if utterance.speaker == "s0":
            split = Split.TEST if utterance.split == "test" else Split.TRAIN
            store.add(NewExample(utterance.audio_path, utterance.text, split=split))
    examples = LocalExamples(engine, store, store.examples(Split.TRAIN), FeatureCache())
    assert (len(examples), examples.skipped) == (8, 0)

    weights, losses = package.weights(), []
    for number in range(1, 7):
        phones = train(engine, examples, PLAN, weights, client_id="s0", round_number=number)
        (mine,) = fast.train([("s0", population.train("s0"))], PLAN, weights, number)
        assert phones.delta is not None
        assert mine.delta is not None
        apart = np.linalg.norm(mine.delta - phones.delta) / np.linalg.norm(phones.delta)
        assert apart < 1e-3
        assert mine.statistics.loss == pytest.approx(phones.statistics.loss, rel=1e-4)
        for name in ("examples", "steps", "planned_memory_bytes", "skipped_examples"):
            assert getattr(mine.statistics, name) == getattr(phones.statistics, name), name
        weights = weights + phones.delta
        losses.append(phones.statistics.loss)
    assert losses[-1] < 0.7 * losses[0]
    assert phones.statistics.planned_memory_bytes > package.manifest.buckets[-1].step_arena_bytes

    tests = LocalExamples(engine, store, store.examples(Split.TEST), FeatureCache())
    heard = evaluate(engine, tests, weights)
    reference = evaluate(TorchEngine(package.manifest), tests, weights)
    assert heard is not None
    assert reference is not None
    assert heard.words == 2
    for name in ("word_errors", "char_errors", "chars", "utterances"):
        assert getattr(heard, name) == getattr(reference, name), name


def test_a_simulation_needs_to_be_told_no_more_than_an_export(manifest: Path) -> None:
    run = fedvoice.simulate(
        SpeechCorpus(manifest=manifest),
        {"kind": EAR},
        rounds=3,
        cohort_size=2,
        plan=PLAN,
        task={"vocabulary": {"kind": "character"}},
    )
    assert run.manifest.features.is_waveform
    losses = [row.loss for row in run.results.rounds]
    assert losses[-1] < losses[0]
    assert run.rates["wer"] >= 0


def test_a_phone_gives_the_samples_of_a_recording_whatever_its_rate(
    task: ExportSummary, tmp_path: Path
) -> None:
    """Normalised as wav2vec 2.0's feature extractor does, or as they are; padded with zeros."""
    package, path = task.package, tmp_path / "low.wav"
    wave = tone("low", 0.2, 1, rate=8000)
    soundfile.write(path, wave, 8000, subtype="FLOAT")
    store = ExampleStore(tmp_path / "examples.sqlite")
    store.add(NewExample(path, "low"))
    for normalise in Normalise:
        features = package.manifest.features.model_copy(update={"normalise": normalise})
        manifest = package.manifest.model_copy(update={"features": features})
        (example,) = LocalExamples(
            TorchEngine(manifest), store, store.examples(Split.TRAIN), FeatureCache()
        )
        assert example.features.shape == (3200, 1)
        read = read_waveform(path, features, "", resample=True).astype(np.float64)
        wanted = read
        if normalise is Normalise.UTTERANCE:
            wanted = (read - read.mean()) / np.sqrt(read.var() + 1e-7)
        np.testing.assert_allclose(example.features[:, 0], wanted, atol=1e-6)
        bucket = manifest.buckets[-1]
        batch = make_batch([example], bucket, manifest, weight=1.0)
        assert batch.features.shape == (bucket.batch, bucket.frames, 1)
        assert batch.frame_counts.tolist() == [3200] + [1] * (bucket.batch - 1)
        assert not batch.features[0, 3200:].any()


@pytest.mark.parametrize(
    ("table", "change", "told"),
    [
        ("features", {"mel_bins": 40}, "of which a frame is one sample"),
        ("features", {"kind": "log-mel"}, "forward takes `waveform`"),
        ("features", {"kind": "log-mel", "normalise": "utterance"}, "log-mel is always normalised"),
        ("plan", {"spec_augment": {"time_masks": 1}}, "spec_augment masks log-mel"),
        ("streaming", {"frames": 4}, "only log-mel streams"),
        ("model", {"kind": "ctc"}, "this kind takes log-mel"),
    ],
)
def test_settings_of_log_mel_are_refused_for_waveforms(
    table: str, change: dict[str, Any], told: str
) -> None:
    fields: dict[str, Any] = {
        "name": "ear",
        "model": {"kind": EAR},
        "features": {"kind": "waveform"},
        "vocabulary": {"tokens": ["low", "high"]},
        "buckets": [{"frames": 3200, "labels": 1}],
    }
    fields[table] = {**fields.get(table, {}), **change}
    with pytest.raises(FedvoiceError, match=re.escape(told)) as caught:
        parse_config(fields, "a test")
    assert caught.value.code is ErrorCode.BAD_CONFIG


def test_masks_in_a_servers_plan_are_refused_before_and_in_training(task: ExportSummary) -> None:
    package = task.package
    plan = PLAN.model_copy(update={"spec_augment": SpecAugment(time_masks=1, time_mask_frames=9)})
    config = ServerConfig(insecure=True)
    job = Job("ear", config, package.manifest, plan, pb.Blob(), pb.Blob())
    examples = [Example(np.zeros((3000, 1), np.float32), [1])]
    naming: dict[str, Any] = {"client_id": "a", "round_number": 1}
    for refused in (
        job.check,
        lambda: train(TorchEngine(package.manifest), examples, plan, package.weights(), **naming),
    ):
        with pytest.raises(FedvoiceError, match="masks log-mel") as caught:
            refused()
        assert caught.value.code is ErrorCode.BAD_CONFIG


def test_settings_of_log_mel_are_written_as_they_were() -> None:
    """Phones of earlier releases refuse fields that they do not know."""
    fields = FeatureSettings(mel_bins=6).model_dump(mode="json")
    assert list(fields) == [
        *("sample_rate", "fft_size", "window_samples", "hop_samples", "mel_bins", "stack"),
        *("log_floor", "max_secs"),
    ]
    waves = FeatureSettings.model_validate({"kind": "waveform", "sample_rate": 8000})
    assert FeatureSettings.model_validate_json(waves.model_dump_json()) == waves

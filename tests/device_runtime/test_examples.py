"""From a sound file to an example, and what stands in the way."""

from __future__ import annotations

import io
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile

from fedvoice.data.audio import read_waveform
from fedvoice.device_runtime.evaluation import evaluate
from fedvoice.device_runtime.examples import FeatureCache, LocalExamples
from fedvoice.device_runtime.store import ExampleStore, NewExample, Split
from fedvoice.protocol.engine import Example
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.scoring import WordErrors, count_word_errors
from fedvoice.protocol.task import FeatureSettings
from tests.device_runtime.tiny import BINS, TinyEngine, make_examples, some_weights, tiny_manifest

SETTINGS = FeatureSettings()


def sound(samples: np.ndarray, rate: int = 16000, kind: str = "FLAC") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind)
    return file.getvalue()


def wave(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples)


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_sound_files_become_waveforms(tmp_path: Path, kind: str) -> None:
    samples = wave(700)
    path = tmp_path / "a"
    path.write_bytes(sound(samples, kind=kind))
    for audio in (path, path.read_bytes()):
        waveform = read_waveform(audio, SETTINGS, "here")
        assert waveform.dtype == np.float32
        np.testing.assert_allclose(waveform, samples, atol=1 / 2**15)


def test_channels_are_averaged() -> None:
    both = np.stack([np.full(600, 0.5), np.full(600, -0.25)], axis=1)
    np.testing.assert_allclose(read_waveform(sound(both), SETTINGS, ""), 0.125, atol=1e-4)


@pytest.mark.parametrize(
    ("audio", "code", "said"),
    [
        (sound(wave(800), rate=8000), ErrorCode.WRONG_SAMPLE_RATE, "-r 16000"),
        (sound(wave(511)), ErrorCode.UNREADABLE_AUDIO, "511 samples"),
        (sound(wave(800))[:60], ErrorCode.UNREADABLE_AUDIO, "wanted a wav or flac"),
        (b"RIFFless", ErrorCode.UNREADABLE_AUDIO, "wanted a wav or flac"),
        (Path("/nowhere/x.flac"), ErrorCode.MISSING_AUDIO, "no such file"),
    ],
    ids=["8 kHz", "too short", "truncated", "no sound", "missing"],
)
def test_what_is_wrong_with_a_sound_is_said(
    audio: bytes | Path, code: ErrorCode, said: str
) -> None:
    with pytest.raises(FedvoiceError) as caught:
        read_waveform(audio, SETTINGS, "the kitchen recording")
    assert caught.value.code is code
    assert "the kitchen recording" in str(caught.value)
    assert said in str(caught.value)


def test_unusable_rows_are_skipped_without_decoding(tmp_path: Path) -> None:
    engine = TinyEngine()
    store = ExampleStore(tmp_path / "s")
    store.add_all(
        [
            NewExample(sound(wave(900)), "yes"),
            NewExample(sound(wave(900)), "perhaps"),
            NewExample(sound(wave(900)), "yes no"),
            NewExample(sound(wave(16000)), "yes"),
            NewExample(sound(wave(900), rate=4000), "yes"),
            NewExample(sound(wave(300)), "yes"),
        ]
    )
    examples = LocalExamples(engine, store, store.examples(Split.TRAIN), FeatureCache())
    assert (len(examples), examples.skipped) == (1, 5)
    assert examples.usage.skipped == 5
    assert examples.usage.left_out["wrong-sample-rate"].count == 1
    example = examples[0]
    assert example.targets == [engine.manifest.vocabulary.encode("yes")[0]]
    assert example.features.shape == (3, BINS)
    np.testing.assert_allclose(example.features.mean(axis=0), 0, atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 192000])
def test_a_usual_rate_is_resampled_to_the_tasks(tmp_path: Path, rate: int) -> None:
    """The recording is stored as it came: another task may learn from another rate."""
    engine = TinyEngine()
    store = ExampleStore(tmp_path / "s")
    heard = [NewExample(sound(wave(900 * hz // 16000), rate=hz), "yes") for hz in (rate, 16000)]
    store.add_all([*heard, NewExample(sound(wave(300 * rate // 16000), rate=rate), "yes")])
    examples = LocalExamples(engine, store, store.examples(Split.TRAIN), FeatureCache())
    assert list(examples.usage.left_out) == ["too-short"]
    assert len(examples) == 2
    assert examples[0].features.shape == examples[1].features.shape
    assert examples.rows[0].sample_rate == rate


def test_words_that_the_task_lacks_are_references_of_tests(tmp_path: Path) -> None:
    """The word error rate is against what was said: "perhaps" cannot be recognised, so it is an
    error; to train it has no target and is left out."""
    engine = TinyEngine()
    store = ExampleStore(tmp_path / "s")
    store.add_all(
        NewExample(sound(wave(900)), "Yes PERHAPS", split=split)
        for split in (Split.TRAIN, Split.TEST)
    )
    train = LocalExamples(engine, store, store.examples(Split.TRAIN), FeatureCache())
    assert (len(train), list(train.usage.left_out)) == (0, ["unknown-token"])
    test = LocalExamples(engine, store, store.examples(Split.TEST), FeatureCache())
    assert [(e.text, list(e.targets)) for e in test] == [("yes perhaps", [])]
    weights = np.zeros(engine.manifest.parameters.total_size, dtype=np.float32)
    found = evaluate(engine, test, weights)
    assert found is not None
    assert (found.word_errors, found.words, found.utterances) == (2, 2, 1)
    said = "yes perhaps"
    assert found.chars == len(said)
    assert 0 < found.char_errors <= len(said)


def test_features_are_made_once_and_forgotten_when_the_cache_is_full(tmp_path: Path) -> None:
    made = []

    class Counting(TinyEngine):
        def features(self, waveform):  # type: ignore[no-untyped-def]
            made.append(len(waveform))
            return super().features(waveform)

    store = ExampleStore(tmp_path / "s")
    store.add_all(NewExample(sound(wave(900, i)), "yes") for i in range(3))
    one = 3 * BINS * 4
    cache = FeatureCache(max_bytes=2 * one)
    examples = LocalExamples(Counting(), store, store.examples(Split.TRAIN), cache)
    for index in (0, 1, 0, 1):
        examples[index]
    assert len(made) == 2
    examples[2]
    assert cache.held_bytes == 2 * one
    examples[1]
    assert len(made) == 3
    examples[0]
    assert len(made) == 4


def test_word_errors_by_hand() -> None:
    assert count_word_errors(["a b c", "d"], ["a x", "d e"]) == WordErrors(3, 4, 2)
    assert count_word_errors(["a b"], [""]) == WordErrors(2, 2, 1)
    assert count_word_errors([], []) == WordErrors(0, 0, 0)
    assert WordErrors(3, 4, 2).wer == 0.75


def test_evaluation_counts_over_all_buckets() -> None:
    engine = TinyEngine(tiny_manifest(buckets=((2, 2), (4, 3))))
    weights = some_weights(engine.manifest)
    examples = [*make_examples(5, frames=2), *make_examples(4, seed=1, frames=4)]
    weight, bias = engine.manifest.parameters.views(weights)
    predicted = [int((e.features.mean(axis=0) @ weight + bias).argmax()) for e in examples]
    wrong = sum(p != e.targets[0] for p, e in zip(predicted, examples, strict=True))
    too_long = Example(np.zeros((9, BINS), dtype=np.float32), [1])
    found = evaluate(engine, [*examples, too_long], weights)
    assert found is not None
    assert (found.word_errors, found.words, found.utterances) == (wrong, 9, 9)
    assert found.skipped_examples == 1
    names = [engine.manifest.vocabulary.decode(e.targets) for e in examples]
    said = [engine.manifest.vocabulary.decode([p]) for p in predicted]
    assert found.char_errors / found.chars == jiwer.cer(names, said)
    polls = iter([False, True])
    assert evaluate(engine, examples, weights, should_stop=lambda: next(polls)) is None

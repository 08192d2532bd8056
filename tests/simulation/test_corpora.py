"""Corpora on disk become manifests: small trees of the real shapes, and synthetic voices."""

from collections import Counter

import numpy as np
import pytest
import soundfile

from fedvoice.data.loaders import folder, librispeech, speech_commands
from fedvoice.data.synthetic import SyntheticCorpusConfig, build_synthetic_corpus, make_voices
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.usage import Usage
from fedvoice.protocol.utterances import read_manifest, write_manifest


def write_sound(path, secs=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(int(16000 * secs), dtype=np.float32), 16000)


def test_librispeech_by_speaker(tmp_path):
    for speaker, texts in {"84": ["HELLO WORLD", "AGAIN"], "1272": ["ONE", "TWO"]}.items():
        chapter = tmp_path / "LibriSpeech" / "dev-clean" / speaker / "7"
        for i in range(len(texts)):
            write_sound(chapter / f"{speaker}-7-{i:04d}.flac", secs=0.5 + i)
        (chapter / f"{speaker}-7.trans.txt").write_text(
            "".join(f"{speaker}-7-{i:04d} {text}\n" for i, text in enumerate(texts))
        )
    found = librispeech(tmp_path, "dev-clean", test_fraction=0.5)
    assert [(u.speaker, u.text, u.duration_secs) for u in found] == [
        ("1272", "ONE", 0.5),
        ("1272", "TWO", 1.5),
        ("84", "HELLO WORLD", 0.5),
        ("84", "AGAIN", 1.5),
    ]
    assert [(u.speaker, u.split) for u in sorted(found, key=lambda u: (u.speaker, u.split))] == [
        (speaker, split) for speaker in ("1272", "84") for split in ("test", "train")
    ]
    assert len(librispeech(tmp_path, "dev-clean", max_secs=1.0)) == 2
    write_manifest(tmp_path / "manifest.jsonl", found)
    assert read_manifest(tmp_path / "manifest.jsonl") == found
    with pytest.raises(FedvoiceError, match="train-clean-100"):
        librispeech(tmp_path, "train-clean-100")


def test_speech_commands_with_its_own_testing_list(tmp_path):
    root = tmp_path / "SpeechCommands" / "speech_commands_v0.02"
    for word in ("yes", "no"):
        for speaker in ("aaaa", "bbbb"):
            write_sound(root / word / f"{speaker}_nohash_0.wav", secs=1.0)
    write_sound(root / "_background_noise_" / "hum.wav")
    (root / "testing_list.txt").write_text("yes/bbbb_nohash_0.wav\n")
    (root / "validation_list.txt").write_text("")
    found = speech_commands(tmp_path)
    assert Counter((u.text, u.speaker, u.split) for u in found) == Counter(
        [
            ("yes", "aaaa", "train"),
            ("no", "aaaa", "train"),
            ("no", "bbbb", "train"),
            ("yes", "bbbb", "test"),
        ]
    )
    assert all(u.audio_path.is_file() for u in found)
    assert {u.text for u in speech_commands(tmp_path, words=["no"])} == {"no"}
    with pytest.raises(FedvoiceError, match="not-found"):
        speech_commands(tmp_path / "elsewhere")


def test_a_folder_of_audio_with_transcripts_beside(tmp_path):
    for name, text in (("a/1", "Good  day."), ("a/deep/2", "«bye», O'Neill!"), ("b/1", "hello")):
        write_sound(tmp_path / f"{name}.wav")
        (tmp_path / f"{name}.txt").write_text(text)
    found = folder(tmp_path)
    assert sorted((u.speaker, u.text) for u in found) == [
        ("a", "Good day."),
        ("a", "«bye», O'Neill!"),
        ("b", "hello"),
    ]
    (tmp_path / "b" / "1.txt").unlink()
    usage = Usage()
    assert sorted(u.speaker for u in folder(tmp_path, usage=usage)) == ["a", "a"]
    assert usage.as_dict()["first_left_out"] == {"empty-transcript": str(tmp_path / "b" / "1.wav")}


def test_synthetic_voices_are_many_distinct_and_the_same_for_a_seed(tmp_path):
    voices = make_voices(100, seed=0)
    assert len({(v.accent, v.variant) for v in voices}) == 100
    assert voices == make_voices(100, seed=0)
    config = SyntheticCorpusConfig(voices=3, train_utterances=4, test_utterances=1, max_words=2)
    steps = []
    manifest = build_synthetic_corpus(
        tmp_path / "a", config, lambda done, total: steps.append((done, total))
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]
    utterances = read_manifest(manifest)
    assert Counter((u.speaker, u.split) for u in utterances) == Counter(
        {(f"voice{i:03d}", split): n for i in range(3) for split, n in (("train", 4), ("test", 1))}
    )
    waves = [soundfile.read(u.audio_path)[0] for u in utterances]
    assert all(0.1 < len(w) / 16000 < 3 and np.abs(w).max() > 0.3 for w in waves)


def test_a_synthetic_corpus_can_be_made_again_to_the_sample(tmp_path, fedvoice):
    sounds = []
    for name in ("a", "b"):
        done = fedvoice("data", "synthetic", "--out", tmp_path / name, "--voices", 2)
        assert done.returncode == 0, done.stderr
        utterances = read_manifest(tmp_path / name / "manifest.jsonl")
        sounds.append([soundfile.read(u.audio_path)[0] for u in utterances])
    assert len(sounds[0]) > 10
    assert all(np.array_equal(x, y) for x, y in zip(*sounds, strict=True))

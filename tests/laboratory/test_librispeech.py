"""The configuration for all of LibriSpeech, on a tree of its shape with a few seconds of noise."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fedvoice.protocol.task import FeatureSettings
from fedvoice.simulation.speech import FeatureLibrary

CONFIG = Path(__file__).resolve().parents[2] / "experiments" / "librispeech.toml"
SENTENCES = ("THE CAT SAT ON THE MAT", "A DOG RAN AFTER IT", "THEY WENT HOME AND ATE BREAD")


def record(root, speakers, each):
    """`root/LibriSpeech/train-clean-100/<speaker>/<chapter>/<speaker>-<chapter>-<n>.flac`."""
    random = np.random.default_rng(0)
    for speaker in range(100, 100 + speakers):
        folder = root / "LibriSpeech" / "train-clean-100" / str(speaker) / "7"
        folder.mkdir(parents=True)
        lines = []
        for number in range(each):
            name = f"{speaker}-7-{number:04d}"
            sound = random.normal(size=16000 + 800 * number) * 0.1
            soundfile.write(folder / f"{name}.flac", sound, 16000)
            lines.append(f"{name} {SENTENCES[number % len(SENTENCES)]}")
        (folder / f"{speaker}-7.trans.txt").write_text("\n".join(lines) + "\n")


def fedvoice(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "fedvoice", *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_librispeech_by_speaker_starts_and_its_phones_train(tmp_path):
    record(tmp_path, speakers=5, each=10)
    manifest = tmp_path / "librispeech.jsonl"
    fedvoice(
        "data", "librispeech", "--root", tmp_path, "--subset", "train-clean-100", "--out", manifest
    )
    small = {
        "data.manifest": manifest,
        "data.holdout_speakers": 1,
        "task.model.encoder.hidden_size": 8,
        "task.model.predictor_size": 8,
        "task.model.joint_size": 8,
        "task.vocabulary.pieces": 20,
        "export": "false",
        "server.rounds": 2,
        "server.cohort_size": 3,
        "server.evaluate_every": 2,
    }
    settings = [part for name, value in small.items() for part in ("--set", f"{name}={value}")]
    out = tmp_path / "out"
    fedvoice(
        "experiment", "run", CONFIG, "--arms", "limited", "--out", out,
        "--trials-dir", tmp_path / "trials", "--jobs", 1, *settings,
    )  # fmt: skip
    header, trial = (out / "trials.csv").read_text().splitlines()
    row = dict(zip(header.split(","), trial.split(","), strict=True))
    assert row["rounds"] == "2"
    # Three phones of nine training utterances each, in batches of eight, in both rounds.
    assert row["steps"] == str(2 * 3 * 2)
    assert float(row["heldout_wer"]) > 0


def test_features_beyond_the_memory_given_are_made_again(tmp_path):
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.wav")
        soundfile.write(paths[-1], np.random.default_rng(number).normal(size=16000) * 0.1, 16000)
    settings = FeatureSettings()
    one = FeatureLibrary(settings).get(paths[0]).nbytes
    library = FeatureLibrary(settings, max_bytes=2 * one)
    first = [library.get(path) for path in paths]
    assert library.held_bytes == 2 * one
    assert library.get(paths[2]) is first[2]
    again = library.get(paths[0])
    assert again is not first[0]
    np.testing.assert_array_equal(again, first[0])

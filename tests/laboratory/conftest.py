"""Experiments of seconds: eight synthetic voices, four words, a model of a few thousand
parameters."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fedvoice.data.synthetic import SyntheticCorpusConfig, build_synthetic_corpus
from tests.shared import once

CONFIG = """
name = "tiny"
title = "A tiny experiment"
seeds = [0, 1]

[base]
export = false

[base.data]
corpus = "speech"
manifest = "{manifest}"
holdout_speakers = 2

[base.task]
buckets = [{ frames = 15, labels = 1, batch = 4 }]

[base.task.model]
kind = "rnnt"
embedding_size = 8
predictor_size = 16
joint_size = 16
encoder = { layers = 1, hidden_size = 16, bidirectional = true }

[base.task.vocabulary]
kind = "word"

[base.plan]
batch_size = 4
client_rate = 1.0
clip_norm = 3.0

[base.server]
rounds = 4
cohort_size = 3
evaluate_every = 2

[[arms]]
name = "all"
label = "all data"

[[arms]]
name = "limited"
label = "L = 2"
set = { "plan.data_limit" = 2 }
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 8 voices with 6 utterances to train on and 2 to test, of one word each."""
    corpus = SyntheticCorpusConfig(
        voices=8,
        train_utterances=6,
        test_utterances=2,
        words=("one", "five", "seven", "no"),
        max_words=1,
    )

    def make(folder: Path) -> None:
        build_synthetic_corpus(folder, corpus, lambda done, total: None)

    return once(tmp_path_factory, "laboratory-voices", make) / "manifest.jsonl"


@pytest.fixture
def experiment(tmp_path: Path, voices: Path) -> Path:
    """The experiment's file: two arms, two seeds, four rounds of three phones."""
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG.replace("{manifest}", str(voices)))
    return path


@pytest.fixture
def fedvoice(tmp_path: Path) -> Run:
    """Run the command in an empty folder; the finished process with its output as text."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), cwd=tmp_path, capture_output=True, text=True, timeout=300
        )

    return run


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "fedvoice", *map(str, arguments)]

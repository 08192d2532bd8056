"""A simulation small enough for a test: eight voices, four words, a model of a few thousand
parameters, trained by the real runtime over a real socket."""

import subprocess
import sys

import pytest

CONFIG = """
name = "tiny"

[data]
holdout_speakers = 2

[data.synthetic]
voices = 8
train_utterances = 6
test_utterances = 2
words = ["one", "five", "seven", "no"]
max_words = 1

[task.model]
kind = "rnnt"
embedding_size = 8
predictor_size = 16
joint_size = 16

[task.model.encoder]
layers = 1
hidden_size = 16
bidirectional = true

[[task.buckets]]
frames = 15
labels = 1
batch = 4

[task.vocabulary]
kind = "word"

[plan]
batch_size = 4
client_rate = 1.0
clip_norm = 3.0

[server]
rounds = {rounds}
cohort_size = 3
evaluate_every = 2
evaluate_first = true
"""


@pytest.fixture
def tiny_config(tmp_path):
    def write(rounds):
        path = tmp_path / "tiny.toml"
        path.write_text(CONFIG.replace("{rounds}", str(rounds)))
        return path

    return write


@pytest.fixture
def fedvoice():
    """Run the command; returns the finished process with its output as text."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "fedvoice", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run

"""The example tasks and the corpora that they learn belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedvoice.data.mnist import DIGITS, SIDE, Images
from fedvoice.data.shakespeare import CHARACTERS, UNROLL, Role, cut_windows, encode
from fedvoice.model_export.config import ExportConfig, read_config
from fedvoice.model_export.package import new_model, parameter_table
from fedvoice.protocol.engine import Example
from fedvoice.protocol.vocabulary import WORD_BOUNDARY

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"


def read_task(name: str) -> ExportConfig:
    return read_config(EXPERIMENTS / f"export-{name}.toml")


def demand_a_bucket(config: ExportConfig, example: Example) -> None:
    """Bins of the task, and room for frames and labels in its one bucket."""
    features, (bucket,) = config.features, config.task_buckets()
    assert example.features.shape[1] == features.mel_bins
    assert features.stacked_frames(len(example.features)) == bucket.frames
    assert len(example.targets) == bucket.labels


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("mnist-2nn", 199_210), ("mnist-cnn", 1_663_370), ("shakespeare-lstm", 816_812)],
)
def test_example_tasks_have_the_models_that_their_files_say(name: str, parameters: int) -> None:
    config = read_task(name)
    model = new_model(config, config.vocabulary.build().size)
    assert parameter_table(model).parameter_count == parameters


@pytest.mark.parametrize("name", ["mnist-2nn", "mnist-cnn"])
def test_an_image_is_one_frame_whose_token_is_its_digit(name: str) -> None:
    config = read_task(name)
    images = Images(np.zeros((10, SIDE, SIDE), np.uint8), np.arange(10))
    vocabulary = config.vocabulary.build()
    for example in images:
        demand_a_bucket(config, example)
    assert [vocabulary.decode(example.targets) for example in images] == list(DIGITS)


def test_a_window_of_the_plays_fills_the_bucket_and_every_character_is_a_token() -> None:
    config = read_task("shakespeare-lstm")
    text = (CHARACTERS * 2)[: UNROLL + 1]
    (window,) = cut_windows([Role("A", text, "")]).train
    demand_a_bucket(config, window)
    tokens = config.vocabulary.build().tokens
    said = "".join(tokens[token] for token in encode(CHARACTERS, CHARACTERS, "all"))
    assert said.replace(WORD_BOUNDARY, " ") == CHARACTERS

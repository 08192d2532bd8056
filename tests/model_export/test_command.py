"""`fedvoice export` as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fedvoice.cli import app
from fedvoice.model_export.config import read_config
from fedvoice.model_export.package import export_task, flat_weights, new_model, parameter_table
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import load_package, save_weights
from fedvoice.protocol.vocabulary import TargetKind

ROOT = str(Path(__file__).resolve().parents[2])

CONFIG = """
name = "greetings"
[model]
kind = "ctc"
encoder = {layers = 1, hidden_size = 4}
[features]
mel_bins = 4
stack = 2
max_secs = 1.0
[vocabulary]
tokens = ["hello", "you"]
[plan]
local_epochs = 3
[[buckets]]
frames = 6
labels = 2
batch = 2
"""


def test_a_person_exports_a_task_that_starts_from_given_weights(tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_text(CONFIG)
    config = read_config(tmp_path / "task.toml")
    model = new_model(config.model_copy(update={"seed": 5}), vocabulary_size=3)
    table = parameter_table(model)
    save_weights(tmp_path / "seed.safetensors", flat_weights(model, table), table)
    arguments = ["export", "--config", str(tmp_path / "task.toml"), "--out", str(tmp_path / "task")]
    arguments += ["--weights", str(tmp_path / "seed.safetensors")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    for word in ("greetings", "step_t6", "decode_t6", "features", "worst gradient error"):
        assert word in result.output
    package = load_package(tmp_path / "task")
    assert package.manifest.plan.local_epochs == 3
    np.testing.assert_array_equal(package.weights(), flat_weights(model, table))


MODULE = """
from torch import Tensor, nn


class Mine(nn.Module):
    predicts = "ctc"
    features = {"mel_bins": 4, "stack": 2}

    def __init__(self, input_size: int, vocabulary_size: int, width: int = 3) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(input_size, width), nn.Linear(width, vocabulary_size)

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        return self.head(self.body(features).tanh())

    def forward(self, features, lengths, targets, target_lengths) -> Tensor:
        scores = self.predict(features, lengths).log_softmax(-1).transpose(0, 1)
        return nn.functional.ctc_loss(scores, targets, lengths, target_lengths, reduction="none")
"""


def test_a_person_exports_a_class_from_where_they_stand(tmp_path: Path) -> None:
    """A manifest gives vocabulary and buckets, the class its front end."""
    (tmp_path / "mine.py").write_text(MODULE)
    speech = tmp_path / "speech"
    made = [sys.executable, "-m", "fedvoice", "data", "synthetic", "--out", str(speech)]
    subprocess.run([*made, "--voices", "2"], check=True, capture_output=True, timeout=200)
    command = [sys.executable, "-c", "from fedvoice.cli import main; main()", "export"]
    command += ["--module", "mine:Mine", "--set", "width=5", "--out", "task"]
    command += ["--manifest", str(speech / "manifest.jsonl")]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert "mine:Mine" in done.stdout
    manifest = load_package(tmp_path / "task").manifest
    assert manifest.name == "mine"
    assert manifest.features.mel_bins == 4
    assert manifest.model == {"width": 5}
    assert manifest.takes_audio
    assert manifest.vocabulary.kind is TargetKind.CHARACTER
    assert manifest.buckets


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--module", "mine:Mine"], "--manifest"),
        (["--set", "width=5"], "--config"),
        ([], "--config"),
    ],
)
def test_an_export_of_nothing_in_particular_says_what_is_missing(
    arguments: list[str], told: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["export", "--out", str(tmp_path / "task"), *arguments])
    assert result.exit_code == 2
    assert told in result.output
    assert not (tmp_path / "task").exists()


def test_weights_of_another_model_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_text(CONFIG)
    other = read_config(tmp_path / "task.toml")
    model = new_model(other, vocabulary_size=9)
    table = parameter_table(model)
    save_weights(tmp_path / "other.safetensors", flat_weights(model, table), table)
    with pytest.raises(FedvoiceError) as caught:
        export_task(other, tmp_path / "task", weights=tmp_path / "other.safetensors")
    assert caught.value.code is ErrorCode.WRONG_SHAPE
    assert not (tmp_path / "task").exists()


def test_a_manifest_that_the_task_could_not_use_is_refused_before_the_export(
    tmp_path: Path,
) -> None:
    lines = [("hello", 0.1), ("you", 0.1), ("hello you you", 0.1), ("hello", 0.5)]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(
        "\n".join(
            json.dumps({"audio_filepath": f"{i}.wav", "text": text, "duration": secs})
            for i, (text, secs) in enumerate(lines)
        )
    )
    (tmp_path / "task.toml").write_text(CONFIG)
    arguments = ["export", "--config", str(tmp_path / "task.toml"), "--out", str(tmp_path / "task")]
    result = CliRunner().invoke(app, [*arguments, "--manifest", str(manifest)])
    assert isinstance(result.exception, FedvoiceError)
    assert result.exception.code is ErrorCode.TOO_LITTLE_USABLE
    said = result.output.replace("\n", "")
    assert "2 utterances used; left out: 1 too-many-tokens" in said
    assert f"1 too-long (first: {manifest}:4)" in said
    assert not (tmp_path / "task").exists()

"""`fedvoice export` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fedvoice.cli import app
from fedvoice.model_export.config import read_config
from fedvoice.model_export.package import export_task, flat_weights, new_model, parameter_table
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import load_package, save_weights

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

"""`fedvoice transcribe`, on the real runtime: a recording, and the same sound on standard input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from fedvoice.cli import load_subcommand
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.task import TaskPackage, save_weights
from tests.device_runtime.test_streaming import CONFIGS, speech
from tests.shared import exported

ARPA = "\\data\\\n\\1-grams:\n-99 <s>\n-1 </s>\n-1 <unk>\n-0.1 go\n\\end\\\n"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> TaskPackage:
    return exported(CONFIGS["rnnt"], tmp_path_factory).package


def run(package: TaskPackage, *arguments: str, stdin: bytes | None = None) -> Any:
    command = [*arguments, "--task", str(package.directory)]
    result = CliRunner().invoke(load_subcommand("transcribe"), command, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_recording_and_the_same_sound_on_standard_input(
    package: TaskPackage, tmp_path: Path
) -> None:
    table = package.manifest.parameters
    weights = 4 * package.weights()
    weights[next(s.offset for s in table.parameters if s.name == "output.bias")] = 0.5
    save_weights(tmp_path / "w.safetensors", weights, table)
    (tmp_path / "lm.arpa").write_text(ARPA)
    # One that no rule cuts: utterances of another length end at other places.
    sound = np.concatenate([speech(100, seed) for seed in range(3)])
    pcm = np.clip(sound * 32768, -32768, 32767).astype("<i2")
    soundfile.write(tmp_path / "sound.wav", pcm, 16000)
    options = ["--weights", str(tmp_path / "w.safetensors"), "--lm", str(tmp_path / "lm.arpa")]

    of_file = run(package, str(tmp_path / "sound.wav"), *options, "--json").stdout
    lines = [json.loads(line) for line in of_file.splitlines()]
    assert lines[-1]["final"]
    assert lines[-1]["ended_by"] == "sound"
    assert any(not line["final"] for line in lines)
    assert run(package, "-", *options, "--json", stdin=pcm.tobytes()).stdout == of_file
    shown = run(package, str(tmp_path / "sound.wav"), *options).stdout
    assert f"s  {lines[-1]['text']}" in shown

    with pytest.raises(FedvoiceError, match="half a sample"):
        run(package, "-", *options, stdin=pcm.tobytes()[:-1])
    with pytest.raises(FedvoiceError, match="header"):
        run(package, "-", *options, stdin=(tmp_path / "sound.wav").read_bytes())


def test_silence_on_standard_input_is_no_text(package: TaskPackage) -> None:
    assert run(package, "-", "--beam", "1", stdin=b"").stdout == ""

"""`fedvoice data <reader>`: what a reader of one's own needs, counts, help, and other rates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import soundfile
import soxr
import typer
from typer.testing import CliRunner

from fedvoice.data.cli import command_of, data
from fedvoice.data.readers import READERS
from fedvoice.data.resampling import resampled_copies
from fedvoice.protocol.usage import Reason, Usage
from fedvoice.protocol.utterance import Utterance
from fedvoice.protocol.utterances import read_manifest
from tests.data.corpora.trees import write_sound


def plain(root: Path, *, least: Annotated[int, typer.Option(help="Least.")] = 0) -> list[Utterance]:
    """A reader as 0.1.0 knew them."""
    return [Utterance(root / f"{i}.wav", "a word", 1.0, "ann") for i in range(least, 3)]


def counting(root: Path, *, usage: Usage | None = None) -> list[Utterance]:
    """A reader that counts."""
    usage = Usage() if usage is None else usage
    usage.leave_out(Reason.EMPTY_TRANSCRIPT, "b.wav", 2)
    return plain(root)


@pytest.mark.parametrize(
    ("reader", "options", "used", "left_out"),
    [(plain, ["--least", "1"], 2, {}), (counting, [], 3, {"empty-transcript": 2})],
)
def test_a_reader_of_ones_own_becomes_a_command(tmp_path, reader, options, used, left_out):
    app = typer.Typer()
    app.command("mine")(command_of(reader))
    out = tmp_path / "m.jsonl"
    given = ["--root", str(tmp_path), "--out", str(out), *options]
    told = CliRunner().invoke(app, given)
    assert told.exit_code == 0, told.output
    assert f"{used} utterances used" in told.stdout
    facts = json.loads(CliRunner().invoke(app, [*given, "--json"]).stdout)
    assert (facts["used"], facts["left_out"]) == (used, left_out)
    assert len(read_manifest(out, check_audio=False)) == used


@pytest.mark.parametrize("name", READERS.built_in)
def test_every_reader_teaches_by_an_example(name):
    told = CliRunner().invoke(data, [name, "--help"]).stdout
    assert f"fedvoice data {name} --root" in " ".join(told.split())
    assert "Args:" not in told


def test_copies_at_another_rate_are_soxrs_and_made_on_request_alone(tmp_path):
    write_sound(tmp_path / "a.wav", 1.0, 48000)
    write_sound(tmp_path / "b.wav", 1.0, 16000)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    usage = Usage()
    given = [
        Utterance(tmp_path / "a.wav", "one", 1.0, "ann"),
        Utterance(tmp_path / "b.wav", "two", 1.0, "ann"),
        Utterance(tmp_path / "a.wav", "three", 0.25, "ann", offset_secs=0.5),
        Utterance(tmp_path / "b.wav", "four", 0.5, "ann", offset_secs=0.5),
        Utterance(tmp_path / "bad.wav", "five", 0.5, "ann"),
    ]
    found = resampled_copies(given, 16000, tmp_path / "out", usage)
    assert [(u.text, u.duration_secs, u.offset_secs) for u in found] == [
        ("one", 1.0, None), ("two", 1.0, None), ("three", 0.25, None), ("four", 0.5, None),
    ]  # fmt: skip
    assert found[1] == given[1]  # it has the rate: it stays where it is
    assert usage.left_out["unreadable-audio"].count == 1
    original, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    for copy, part in ((found[0], original), (found[2], original[24000:36000])):
        assert copy.audio_path.parent == tmp_path / "out"
        samples, rate = soundfile.read(copy.audio_path, dtype="float32")
        assert rate == 16000
        wanted = soxr.resample(part, 48000, 16000, quality="HQ")
        assert np.abs(samples - wanted).max() <= 1 / 32768
    cut, _ = soundfile.read(found[3].audio_path, dtype="float32")
    whole, _ = soundfile.read(tmp_path / "b.wav", dtype="float32")
    assert np.array_equal(cut, whole[8000:])
    assert sorted(p.name for p in tmp_path.glob("*.flac")) == []


def test_a_full_scale_recording_is_not_wrapped(tmp_path):
    square = np.sign(np.sin(np.arange(48000) / 50)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", square, 48000, subtype="FLOAT")
    (copy,) = resampled_copies(
        [Utterance(tmp_path / "a.wav", "one", 1.0, "ann")], 16000, tmp_path / "out", Usage()
    )
    samples, _ = soundfile.read(copy.audio_path, dtype="float32")
    wanted = soxr.resample(square, 48000, 16000, quality="HQ")
    assert np.abs(wanted).max() > 1  # it overshoots
    assert np.abs(samples - np.clip(wanted, -1, 1)).max() <= 2 / 32768

"""A trained model goes out again: the same transcripts in every runtime that reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from fedvoice.cli import app
from fedvoice.model_export.outgoing.onnx_model import OnnxRecogniser, write_onnx_model
from fedvoice.model_export.outgoing.program import build_program, measure, quantised_rows
from fedvoice.model_export.outgoing.release import Format, release
from fedvoice.model_export.outgoing.sherpa import SherpaRecogniser, tokens_text, write_sherpa
from fedvoice.model_export.outgoing.sherpa_features import SherpaFeatures
from fedvoice.model_export.outgoing.speech import Heard, read_speech, word_error_rate
from fedvoice.model_export.outgoing.trained import Trained, read_trained
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import FeatureSettings
from fedvoice.protocol.vocabulary import TargetKind, Vocabulary

pytestmark = pytest.mark.slow


@pytest.fixture
def heard(trained: Trained, speech: Path) -> list[Heard]:
    found, usage = read_speech(speech, trained.manifest, split="test")
    assert usage.used == len(found) > 20
    return found


def transcripts(trained: Trained, heard: list[Heard]) -> list[list[int]]:
    found = [trained.model.greedy(one.features, one.lengths)[0].tokens for one in heard]
    assert word_error_rate(heard, found, trained.manifest) < 60  # they say something
    return found


def test_weights_load_strictly_into_the_persons_own_class(
    trained: Trained, heard: list[Heard], tmp_path: Path
) -> None:
    release(trained, tmp_path, [Format.WEIGHTS])
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    same = load_file(tmp_path / "model.safetensors")
    assert state.keys() == same.keys() == trained.own.state_dict().keys()
    own = type(trained.own)
    settings, vocabulary = trained.manifest.features, trained.manifest.vocabulary.size
    size = settings.stack * settings.mel_bins
    if trained.manifest.model_kind in {"rnnt", "ctc"}:
        made = own(trained.model.config, size, vocabulary)
    else:
        made = own(size, vocabulary, **trained.manifest.model)
    made.load_state_dict(state, strict=True)
    for name, tensor in trained.own.state_dict().items():
        assert torch.equal(made.state_dict()[name], tensor)
        assert torch.equal(same[name], tensor)


def test_onnxruntime_gives_the_same_transcripts_alone_and_in_a_padded_batch(
    trained: Trained, heard: list[Heard], tmp_path: Path
) -> None:
    write_onnx_model(trained, tmp_path)
    recogniser = OnnxRecogniser(trained, tmp_path)
    wanted = transcripts(trained, heard)
    assert [recogniser.transcribe(one.features, one.lengths)[0] for one in heard] == wanted
    longest = max(one.features.shape[1] for one in heard)
    rows = torch.stack(
        [
            torch.nn.functional.pad(one.features[0], (0, 0, 0, longest - one.features.shape[1]))
            for one in heard
        ]
    )
    lengths = torch.cat([one.lengths for one in heard])
    assert recogniser.transcribe(rows, lengths) == wanted


def test_a_program_for_recognition_alone_gives_the_same_transcripts(
    trained: Trained, heard: list[Heard]
) -> None:
    """int8 is a quarter of the matrices, and here says the same but for a word or two."""
    wanted = transcripts(trained, heard)
    floats = build_program(trained, int8=False)
    found = measure(floats, trained, heard)
    assert found.tokens == wanted
    assert found.real_time_factor is not None
    if trained.manifest.model_kind != "ctc":
        return  # the same code for all, and half a minute
    small = build_program(trained, int8=True)
    assert len(small.data) < len(floats.data)
    said = measure(small, trained, heard).tokens
    assert sum(a == b for a, b in zip(said, wanted, strict=True)) >= 0.8 * len(heard)


def test_sherpa_onnx_says_the_same_of_synthetic_voices(
    trained: Trained, heard: list[Heard], tmp_path: Path
) -> None:
    """Its features are 64 other bins, centred: nearly all transcripts are ours."""
    if trained.manifest.model_kind not in {"rnnt", "ctc"}:
        with pytest.raises(FedvoiceError, match="rnnt or ctc"):
            write_sherpa(trained, tmp_path)
        return
    write_sherpa(trained, tmp_path)
    recogniser = SherpaRecogniser(tmp_path, trained.manifest.features.sample_rate)
    said = [recogniser.transcribe(one.waveform) for one in heard]
    wanted = [trained.manifest.vocabulary.decode(t) for t in transcripts(trained, heard)]
    same = sum(a == b for a, b in zip(said, wanted, strict=True))
    assert same >= 0.85 * len(heard), list(zip(said, wanted, strict=True))
    # A recording shorter than one of our stacks ends with a transcript and not with the process.
    recogniser.transcribe(heard[0].waveform[:400])


def test_a_person_releases_a_run_by_command(run: Path, speech: Path, tmp_path: Path) -> None:
    """What it prints beside the files: sizes, transcripts, errors; --json alone on stdout."""
    arguments = ["release", "--task", str(run), "--out", str(tmp_path), "--formats", "weights"]
    arguments += ["--manifest", str(speech), "--split", "test", "--most", "5"]
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert [line["name"] for line in found["released"]] == ["PyTorch", "weights"]
    assert isinstance(found["released"][0]["wer"], float)
    assert found["usage"]["used"] == 5
    assert found["released"][1]["size_bytes"] == sum(
        (tmp_path / name).stat().st_size for name in ("model.pt", "model.safetensors")
    )
    shown = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "5 utterances used" in shown.output
    assert "model.safetensors" in shown.output.replace("\n", "")
    wrong = CliRunner().invoke(app, [*arguments[:5], "--formats", "gguf"])
    assert wrong.exit_code == 2
    assert "gguf" in wrong.output


def test_a_file_that_says_something_else_is_an_error(
    trained: Trained, heard: list[Heard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trained.manifest.model_kind != "ctc":
        pytest.skip("once is enough")

    def deaf(self: object, features: object, lengths: torch.Tensor) -> list[list[int]]:
        return [[] for _ in lengths]

    monkeypatch.setattr(OnnxRecogniser, "transcribe", deaf)
    with pytest.raises(FedvoiceError) as caught:
        release(trained, tmp_path, [Format.ONNX], heard)
    assert caught.value.code is ErrorCode.RELEASE_CHECK
    assert "differ" in caught.value.got


def test_a_folder_without_a_task_says_so(tmp_path: Path) -> None:
    with pytest.raises(FedvoiceError, match="not-found"):
        read_trained(tmp_path)


def test_tokens_for_sherpa_onnx_end_with_the_blank() -> None:
    words = Vocabulary.from_words(["up", "down"])
    assert tokens_text(words) == "\u2581down 0\n\u2581up 1\n<blk> 2\n"
    with pytest.raises(FedvoiceError, match="white space"):
        tokens_text(Vocabulary(kind=TargetKind.WORD, tokens=("<blank>", "two words")))


def test_a_front_end_that_sherpa_onnx_does_not_compute_is_refused() -> None:
    with pytest.raises(FedvoiceError, match="hop_samples = 80"):
        SherpaFeatures(FeatureSettings(hop_samples=80))


def test_int8_rows_are_at_most_half_a_step_away() -> None:
    weight = torch.cat([torch.randn(4, 9) * 100, torch.zeros(1, 9)])
    values, scale = quantised_rows(weight)
    assert values.dtype is torch.int8
    assert bool(((values * scale - weight).abs() <= scale * 0.5001).all())

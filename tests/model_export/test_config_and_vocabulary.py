"""A person's configuration file, and the targets that it leads to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedvoice.model_export.config import VocabularyConfig, read_config
from fedvoice.model_export.kinds import ModelConfig, from_settings, to_settings
from fedvoice.model_export.kinds.char_lstm import CharLstmConfig
from fedvoice.model_export.kinds.cnn import CnnConfig
from fedvoice.model_export.kinds.ctc import CtcConfig
from fedvoice.model_export.kinds.encoder import EncoderConfig
from fedvoice.model_export.kinds.rnnt import RnntConfig
from fedvoice.model_export.kinds.two_layer import TwoLayerConfig
from fedvoice.model_export.vocabulary import build_vocabulary
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.vocabulary import WORD_BOUNDARY, TargetKind

CONFIG = """
name = "greetings"
[model]
kind = "rnnt"
[model.encoder]
bidirectional = true
[vocabulary]
kind = "character"
manifest = "data/manifest.jsonl"
[[buckets]]
frames = 23
labels = 12
[[buckets]]
frames = 10
labels = 5
"""


def write_manifest(folder: Path, *texts: str) -> None:
    folder.mkdir()
    lines = [json.dumps({"audio_filepath": "a.flac", "text": t, "duration": 1}) for t in texts]
    (folder / "manifest.jsonl").write_text("\n".join(lines))


def test_a_configuration_names_its_buckets_and_finds_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_text(CONFIG)
    write_manifest(tmp_path / "data", "Hello", "hello you")
    config = read_config(tmp_path / "task.toml")
    # 23 frames have no good chunk for the joint, 24 have.
    assert [(b.name, b.frames, b.labels) for b in config.task_buckets()] == [
        ("t10", 10, 5),
        ("t24", 24, 12),
    ]
    vocabulary = config.vocabulary.build()
    assert "".join(vocabulary.tokens[2:]) == "ehlouy"
    assert vocabulary.decode(vocabulary.encode("you hello")) == "you hello"


def test_another_manifest_takes_the_place_of_the_files_targets(tmp_path: Path) -> None:
    words = CONFIG.replace('kind = "character"', 'kind = "word"')
    (tmp_path / "task.toml").write_text(words)
    write_manifest(tmp_path / "mine", "up down")
    config = read_config(tmp_path / "task.toml", tmp_path / "mine" / "manifest.jsonl")
    assert config.vocabulary.build().tokens[1:] == ("down", "up")


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('kind = "rnnt"', "model"),
        ("frames = 23", "buckets.0.frames"),
        ("bidirectional = true", "model.rnnt.encoder.bidirectional"),
        ('manifest = "data/manifest.jsonl"', "vocabulary"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, line: str, field: str) -> None:
    (tmp_path / "task.toml").write_text(CONFIG.replace(line, line.split(" ")[0] + ' = "?"', 1))
    if field == "vocabulary":
        (tmp_path / "task.toml").write_text(CONFIG.replace(line, "", 1))
    with pytest.raises(FedvoiceError) as caught:
        read_config(tmp_path / "task.toml")
    assert caught.value.code is ErrorCode.BAD_CONFIG
    assert caught.value.where.endswith(f"task.toml, field {field}")


def test_two_buckets_that_round_to_the_same_frames_are_refused(tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_text(CONFIG.replace("frames = 10", "frames = 24"))
    with pytest.raises(FedvoiceError, match="same frames"):
        read_config(tmp_path / "task.toml")


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FedvoiceError) as caught:
        read_config(tmp_path / "task.toml")
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_words_are_the_distinct_words_of_the_texts() -> None:
    vocabulary = build_vocabulary(TargetKind.WORD, ["go  Left", "left"])
    assert vocabulary.tokens == ("<blank>", "go", "left")


def test_tokens_as_given_keep_their_order_and_their_capitals() -> None:
    config = VocabularyConfig(kind=TargetKind.CHARACTER, tokens=("b", "A", " "), as_given=True)
    vocabulary = config.build()
    assert vocabulary.tokens == ("<blank>", "b", "A", WORD_BOUNDARY)
    assert vocabulary.encode("b b") == [1, 3, 1]
    assert vocabulary.decode([2, 3, 1]) == "A b"


@pytest.mark.parametrize("tokens", [("a", "a"), ()], ids=["twice", "none"])
def test_tokens_as_given_are_given_once(tokens: tuple[str, ...]) -> None:
    manifest = None if tokens else Path("manifest.jsonl")
    with pytest.raises(ValueError, match="each of them once"):
        VocabularyConfig(tokens=tokens, manifest=manifest, as_given=True)


def test_word_pieces_are_trained_on_the_texts_and_travel_with_the_vocabulary() -> None:
    texts = ["go left", "go right", "left right left", "going rightly"] * 5
    vocabulary = build_vocabulary(TargetKind.PIECE, texts, pieces=20)
    assert vocabulary.size <= 21
    again = type(vocabulary).model_validate_json(vocabulary.model_dump_json())
    ids = again.encode("Go rightly")
    assert 0 not in ids
    assert again.decode(ids) == "go rightly"


def test_too_few_word_pieces_for_the_alphabet_say_so() -> None:
    with pytest.raises(FedvoiceError, match="pieces"):
        build_vocabulary(TargetKind.PIECE, ["abcdefgh"], pieces=3)


def test_no_text_is_no_vocabulary() -> None:
    with pytest.raises(FedvoiceError) as caught:
        build_vocabulary(TargetKind.WORD, ["  "])
    assert caught.value.code is ErrorCode.EMPTY_TRANSCRIPT


@pytest.mark.parametrize(
    "config",
    [
        RnntConfig(joint_size=7),
        CtcConfig(encoder=EncoderConfig(layers=3, bidirectional=True)),
        TwoLayerConfig(hidden_size=7),
        CnnConfig(channels2=7),
        CharLstmConfig(layers=3),
    ],
    ids=["rnnt", "ctc", "2nn", "cnn", "char-lstm"],
)
def test_a_manifest_rebuilds_the_model_configuration(config: ModelConfig) -> None:
    assert from_settings(config.kind, to_settings(config)) == config

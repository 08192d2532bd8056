"""Transcripts to tokens, and manifests with the mistakes that people make."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.utterances import Utterance, read_manifest, write_manifest
from fedvoice.protocol.vocabulary import Vocabulary

WORDS = ["zero", "one", "two"]


@given(st.lists(st.sampled_from(WORDS), min_size=1).map(" ".join))
@pytest.mark.parametrize(
    "vocabulary", [Vocabulary.from_words(WORDS), Vocabulary.from_characters(WORDS)]
)
def test_decoding_undoes_encoding(vocabulary, text):
    ids = vocabulary.encode(text.upper())
    assert 0 not in ids
    assert vocabulary.decode(ids) == text


def test_unknown_words_and_empty_texts_are_named():
    vocabulary = Vocabulary.from_words(WORDS)
    with pytest.raises(FedvoiceError, match="word 'three'"):
        vocabulary.encode("one three")
    with pytest.raises(FedvoiceError, match="empty-transcript"):
        vocabulary.encode("  ")


def write_lines(tmp_path, *lines):
    path = tmp_path / "manifest.jsonl"
    (tmp_path / "a.wav").write_bytes(b"")
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return path


GOOD = {"audio_filepath": "a.wav", "text": "One two", "duration": 1.0, "speaker": "s"}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{not json", ErrorCode.BAD_MANIFEST),
        ("[1]", ErrorCode.BAD_MANIFEST),
        ({"audio_filepath": "a.wav", "text": "x"}, ErrorCode.BAD_MANIFEST),
        (GOOD | {"duration": "long"}, ErrorCode.BAD_MANIFEST),
        (GOOD | {"text": 5}, ErrorCode.BAD_MANIFEST),
        (GOOD | {"text": " "}, ErrorCode.EMPTY_TRANSCRIPT),
        (GOOD | {"audio_filepath": "gone.wav"}, ErrorCode.MISSING_AUDIO),
    ],
)
def test_a_bad_line_is_answered_with_its_number(tmp_path, line, code):
    path = write_lines(tmp_path, GOOD, line)
    with pytest.raises(FedvoiceError) as caught:
        read_manifest(path)
    assert caught.value.code is code
    assert f"{path}:2" in caught.value.where


def test_missing_and_empty_manifests(tmp_path):
    with pytest.raises(FedvoiceError, match="not-found"):
        read_manifest(tmp_path / "none.jsonl")
    with pytest.raises(FedvoiceError, match="no utterances"):
        read_manifest(write_lines(tmp_path, ""))


def test_manifests_round_trip_with_paths_relative_to_them(tmp_path):
    [utterance] = read_manifest(write_lines(tmp_path, GOOD))
    assert utterance == Utterance(tmp_path / "a.wav", "One two", 1.0, "s")
    write_manifest(tmp_path / "copy.jsonl", [utterance])
    assert '"audio_filepath": "a.wav"' in (tmp_path / "copy.jsonl").read_text()
    assert read_manifest(tmp_path / "copy.jsonl") == [utterance]

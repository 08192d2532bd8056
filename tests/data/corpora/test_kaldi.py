"""Kaldi data directories, as recipes write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedvoice.data.corpora.kaldi import kaldi
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.usage import Usage
from tests.data.corpora.trees import write, write_sound


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """egs/x/s5: paths are relative to it, not to data/train."""
    s5 = tmp_path / "egs" / "x" / "s5"
    write_sound(s5 / "corpus" / "call1.wav", 3.0)
    write_sound(s5 / "corpus" / "call2.flac", 2.0)
    train = s5 / "data" / "train"
    write(train / "wav.scp", "call1 corpus/call1.wav\ncall2 corpus/call2.flac\n")
    write(
        train / "segments",
        "ann-1 call1 0.00 1.25\nann-2 call1 1.25 2.00\nbob-1 call2 0.5 -1\nbob-2 call2 0 0.4\n",
    )
    write(train / "text", "ann-1 HELLO  THERE\r\nann-2\nbob-1 GOOD DAY\nbob-9 NOBODY\n")
    write(train / "utt2spk", "ann-1 ann\nann-2 ann\nbob-1 bob\nbob-2 bob\n")
    write(train / "spk2utt", "ann ann-1 ann-2\nbob bob-1 bob-2\n")
    write(train / "feats.scp", "ann-1 raw.ark:7\n")
    (train / ".backup").mkdir()
    (train / "split4utt").mkdir()
    return s5


def test_segments_are_utterances_and_what_is_missing_is_counted(recipe):
    usage = Usage()
    found = kaldi(recipe / "data" / "train", usage=usage)
    assert [(u.speaker, u.text, u.offset_secs, u.duration_secs, u.split) for u in found] == [
        ("ann", "HELLO THERE", 0.0, 1.25, "train"),
        ("bob", "GOOD DAY", 0.5, 1.5, "train"),
    ]
    assert [u.audio_path.name for u in found] == ["call1.wav", "call2.flac"]
    assert all(u.audio_path.is_file() for u in found)
    train = recipe / "data" / "train"
    assert {why: (part.count, part.first) for why, part in usage.left_out.items()} == {
        "empty-transcript": (2, f"{train}/text:2"),  # ann-2 has no words, bob-2 is not there
        "missing-audio": (1, f"{train}/text:4"),
    }


def test_recordings_without_segments_are_utterances(recipe):
    train = recipe / "data" / "train"
    (train / "segments").unlink()
    write(train / "text", "call1 one\ncall2 two words\n")
    write(train / "utt2spk", "call1 call1\ncall2 call2\n")
    write(train / "reco2dur", "call1 2.99\n")
    found = kaldi(train)
    assert [(u.text, u.offset_secs, u.duration_secs) for u in found] == [
        ("one", None, 2.99),
        ("two words", None, 2.0),
    ]
    write(train / "utt2dur", "call1 2.98\n")
    assert kaldi(train)[0].duration_secs == 2.98


def test_a_folder_with_train_and_test(recipe):
    test = recipe / "data" / "test"
    write(test / "wav.scp", f"call3 {recipe}/corpus/call1.wav\n")
    write(test / "text", "call3 a test\n")
    write(test / "utt2spk", "call3 eve\n")
    found = kaldi(recipe / "data")
    assert [(u.speaker, u.split) for u in found] == [
        ("ann", "train"), ("bob", "train"), ("eve", "test"),
    ]  # fmt: skip
    drawn = kaldi(recipe / "data", test_set="dev", test_fraction=1)
    assert [u.split for u in drawn] == ["test", "test"]


@pytest.mark.parametrize(
    ("file", "line", "got"),
    [
        ("wav.scp", "call1 sph2pipe -f wav -p -c 1 /c/call1.sph |", "a pipe: sph2pipe -f wav"),
        ("wav.scp", "call1 /exp/wav.ark:1234", "an archive"),
        ("wav.scp", "call1", "no file"),
        ("segments", "ann-1 call1 1.0 0.5", "1.0 to 0.5 s"),
        ("segments", "ann-1 call1 0 one", "call1 0 one"),
        ("segments", "ann-1 call1 0.0 1.0 B", "a channel, B"),
        ("segments", "ann-1 call7 0.0 1.0", "a segment of call7"),
        ("text", "ann-1 HELLO", "ann-1 without a speaker"),
        ("reco2dur", "call1 long", "long"),
    ],
)
def test_what_would_be_read_wrongly_is_refused_with_its_line(recipe, file, line, got):
    train = recipe / "data" / "train"
    if file == "text":
        write(train / "utt2spk", "bob-1 bob\n")
    write(train / file, f"{line}\n")
    with pytest.raises(FedvoiceError) as caught:
        kaldi(train)
    assert caught.value.code is ErrorCode.BAD_MANIFEST
    assert caught.value.where == f"{train}/{file}:1"
    assert got in caught.value.got


def test_no_data_directory_and_other_encodings_are_named(recipe):
    with pytest.raises(FedvoiceError, match=r"wav\.scp") as caught:
        kaldi(recipe)
    assert caught.value.code is ErrorCode.NOT_FOUND
    text = recipe / "data" / "train" / "text"
    text.write_bytes("ann-1 CAFÉ\n".encode("latin-1"))
    with pytest.raises(FedvoiceError, match="byte 0xc9") as caught:
        kaldi(recipe / "data" / "train")
    assert caught.value.where == f"{text}:1"

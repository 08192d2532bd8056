"""Manifests as other tools and editors write them: read as they are meant, or refused by name."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import read_text
from fedvoice.protocol.utterances import (
    Utterance,
    iterate_manifest,
    read_manifest,
    write_manifest,
)

ROW = {"audio_filepath": "a.wav", "text": "one two", "duration": 1.5, "speaker": "s"}


def manifest(folder: Path, content: bytes | str) -> Path:
    (folder / "a.wav").touch()
    path = folder / "manifest.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def row(**fields: object) -> str:
    return json.dumps({**ROW, **fields}, ensure_ascii=False)


@pytest.mark.parametrize(
    "content",
    [
        row() + "\n",
        row(),
        "\ufeff" + row() + "\n",
        row() + "\r\n\r\n",
        "\ufeff" + row() + "\r\n",
        row(text="one\u2028two") + "\n",
        row(text="one\u0085 two\u2029"),
        row(text=" One \t two "),
        "  " + row() + "  \n \n",
        row(offset=None, channel=None, split=None, own_field=[1]) + "\n",
        row(split="training", duration="1.5"),
    ],
    ids=[
        "plain",
        "no last line end",
        "byte order mark",
        "CRLF",
        "both",
        "U+2028 in a text",
        "U+0085 and U+2029",
        "white space",
        "indented",
        "null fields",
        "synonyms",
    ],
)
def test_what_editors_and_tools_write_is_read(tmp_path: Path, content: str) -> None:
    [found] = read_manifest(manifest(tmp_path, content))
    assert found.text.lower() == "one two"  # as it was written; a task's rule makes words of it
    assert found == Utterance(tmp_path / "a.wav", found.text, 1.5, "s")
    assert found.where == f"{tmp_path / 'manifest.jsonl'}:1"


def test_an_offset_makes_a_segment(tmp_path: Path) -> None:
    path = manifest(tmp_path, row(offset=0) + "\n" + row(offset=2.5) + "\n" + row() + "\n")
    found = read_manifest(path)
    assert [(u.offset_secs, u.segment_secs) for u in found] == [(0, 1.5), (2.5, 1.5), (None, None)]
    write_manifest(tmp_path / "copy.jsonl", found)
    assert read_manifest(tmp_path / "copy.jsonl") == found


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"text": None}, "text null"),
        ({"text": 5}, "text 5"),
        ({"text": ["one"]}, "text"),
        ({"duration": -1}, "duration -1"),
        ({"duration": float("nan")}, "duration NaN"),
        ({"duration": float("inf")}, "duration Infinity"),
        ({"duration": True}, "duration true"),
        ({"duration": None}, "duration null"),
        ({"duration": 10**400}, "duration 1000"),
        ({"offset": -0.5}, "offset -0.5"),
        ({"offset": "later"}, "offset"),
        ({"split": "holdout"}, 'split "holdout"'),
        ({"split": 3}, "split 3"),
        ({"audio_filepath": None}, "audio_filepath null"),
        ({"audio_filepath": ["left.wav", "right.wav"]}, "audio_filepath"),
        ({"channel": 1}, "'channel'"),
        ({"feats": "a.npy"}, "'feats'"),
        ({"start": 1.0, "end": 2.0}, "'start'"),
    ],
)
def test_a_wrong_field_is_named_with_file_and_line(
    tmp_path: Path, fields: dict[str, object], said: str
) -> None:
    path = manifest(tmp_path, row() + "\n\n" + row(**fields) + "\n")
    with pytest.raises(FedvoiceError) as caught:
        read_manifest(path)
    assert caught.value.code is ErrorCode.BAD_MANIFEST
    assert caught.value.where == f"{path}:3"
    assert said in caught.value.got


def test_an_offset_without_a_duration_is_named(tmp_path: Path) -> None:
    fields = {"audio_filepath": "a.wav", "text": "one", "offset": 1.0}
    with pytest.raises(FedvoiceError, match="no duration beside offset"):
        read_manifest(manifest(tmp_path, json.dumps(fields)))


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ((row() + "\n").encode() + row(text="café").encode("latin-1"), ":2", "byte 0xe9 at offset"),
        (row(text="caf\u00e9").encode("utf-16"), "", "UTF-16"),
    ],
    ids=["Latin-1", "UTF-16"],
)
def test_another_encoding_is_named_with_the_offending_byte(
    tmp_path: Path, content: bytes, line: str, said: str
) -> None:
    path = manifest(tmp_path, content)
    for read in (read_manifest, lambda p: read_text(p, wanted="a text", next_step="")):
        with pytest.raises(FedvoiceError) as caught:
            read(path)
        assert caught.value.code is ErrorCode.BAD_MANIFEST
        assert caught.value.where == f"{path}{line}"
        assert said in caught.value.got
    if b"\xe9" in content and line:
        assert f"offset {content.index(0xE9)} " in caught.value.got


def test_the_usual_names_of_splits_are_mapped_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["train", "Training", "test", "testing", "eval", "dev", "validation", "validation"]
    path = manifest(tmp_path, "\n".join(row(split=name) for name in names))
    with caplog.at_level(logging.WARNING, logger="fedvoice.manifest"):
        found = read_manifest(path)
        assert read_manifest(path) == found
    assert [u.split for u in found] == ["train"] * 2 + ["test"] * 6
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 5
    assert f"{path}: split 'validation' of 2 utterances is read as test" in said


def test_utterances_are_lean_and_read_one_by_one(tmp_path: Path) -> None:
    """A fault in line 2 does not keep line 1 from being read."""
    found = iterate_manifest(manifest(tmp_path, row() + "\n{\n"))
    first = next(found)
    assert not hasattr(first, "__dict__")
    assert replace(first, split="test").audio_path == tmp_path / "a.wav"
    with pytest.raises(FedvoiceError, match=r"manifest.jsonl:2"):
        next(found)

"""lhotse's cuts and Hugging Face's data sets: files written by hand, as those libraries write."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fedvoice.data.corpora.hugging_face import hugging_face
from fedvoice.data.corpora.lhotse_cuts import lhotse_cuts
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.usage import Usage
from tests.data.corpora.trees import write, write_sound


def recording(name: str, source: str, secs: float, kind: str = "file") -> dict[str, Any]:
    return {
        "id": name,
        "sources": [{"type": kind, "channels": [0], "source": source}],
        "sampling_rate": 16000,
        "num_samples": round(secs * 16000),
        "duration": secs,
        "channel_ids": [0],
    }


def said(name: str, start: float, secs: float, text: str | None, speaker: str) -> dict[str, Any]:
    fields = {"id": name, "recording_id": "r", "start": start, "duration": secs, "channel": 0}
    return {**fields, "speaker": speaker} | ({} if text is None else {"text": text})


def cut(
    name: str, start: float, secs: float, whose: dict[str, Any], *spoken: Any
) -> dict[str, Any]:
    return {
        "id": name,
        "start": start,
        "duration": secs,
        "channel": 0,
        "supervisions": list(spoken),
        "recording": whose,
        "type": "MonoCut",
    }


def write_gzipped(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_supervisions_of_cuts_are_utterances(tmp_path):
    write_sound(tmp_path / "wav" / "call.wav", 4.0)
    write_sound(tmp_path / "wav" / "one.wav", 1.0)
    call, one = recording("call", "wav/call.wav", 4.0), recording("one", "wav/one.wav", 1.0)
    perturbed = {**one, "transforms": [{"name": "Speed", "kwargs": {"factor": 1.1}}]}
    gone = recording("gone", "wav/gone.wav", 1.0)
    rows = [
        cut("c1", 0.5, 3.0, call, said("s1", 0.0, 1.5, "hello", "ann"),
            said("s2", 1.5, 1.5, "there", "bob"), said("s3", 2.5, 1.0, "cut off", "bob")),
        cut("c2", 0.0, 1.0, one, said("s4", 0.0, 1.0, "one", "ann")),
        cut("c3", 0.0, 1.0, one, said("s5", 0.0, 1.0, None, "ann")),
        cut("c4", 0.0, 1.0, one),
        cut("c5", 0.0, 1.0, recording("x", "sox x.wav -t wav -", 1.0, "command"),
            said("s6", 0.0, 1.0, "two", "ann")),
        cut("c6", 0.0, 1.0, perturbed, said("s7", 0.0, 1.0, "two", "ann")),
        cut("c7", 0.0, 1.0, gone, said("s8", 0.0, 1.0, "two", "ann")),
    ]  # fmt: skip
    path = tmp_path / "data" / "manifests" / "cuts.jsonl.gz"
    write_gzipped(path, rows)
    usage = Usage()
    found = lhotse_cuts(path, test_fraction=0, usage=usage)
    assert [(u.speaker, u.text, u.offset_secs, u.duration_secs) for u in found] == [
        ("ann", "hello", 0.5, 1.5),
        ("bob", "there", 2.0, 1.5),
        ("ann", "one", None, 1.0),
    ]
    assert {reason: (part.count, part.first) for reason, part in usage.left_out.items()} == {
        "unreadable-audio": (3, f"{path}:1: c1 cuts s3 short"),
        "empty-transcript": (2, f"{path}:3"),
        "missing-audio": (1, f"{path}:7: {tmp_path}/wav/gone.wav"),
    }


def test_recordings_and_supervisions_of_a_recipe(tmp_path):
    write_sound(tmp_path / "r.wav", 2.0)
    for part in ("train", "dev", "test"):
        write_gzipped(tmp_path / f"x_recordings_{part}.jsonl.gz", [recording("r", "r.wav", 2.0)])
        write_gzipped(
            tmp_path / f"x_supervisions_{part}.jsonl.gz", [said(f"s-{part}", 0, 2, part, "ann")]
        )
    write(tmp_path / "._x_cuts.jsonl.gz", "\0")
    usage = Usage()
    found = lhotse_cuts(tmp_path, usage=usage)
    assert sorted((u.text, u.split) for u in found) == [("test", "test"), ("train", "train")]
    assert usage.left_out["not-chosen"].count == 1


def test_what_lhotse_cannot_read_is_named(tmp_path):
    path = tmp_path / "cuts.jsonl"
    write(path, '{"id": "a"}\n')
    with pytest.raises(FedvoiceError) as caught:
        lhotse_cuts(path)
    assert (caught.value.code, caught.value.where) == (ErrorCode.BAD_MANIFEST, str(path))
    with pytest.raises(FedvoiceError, match="neither"):
        lhotse_cuts(tmp_path / "elsewhere")


def save(folder: Path, rows: list[dict[str, Any]], text: str = "text") -> None:
    """What `Dataset.save_to_disk` leaves."""
    import pyarrow as pa

    sound = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({
        "audio": pa.array([row["audio"] for row in rows], sound),
        text: pa.array([row["text"] for row in rows], pa.string()),
        "speaker_id": pa.array([row["speaker_id"] for row in rows], pa.int64()),
    })  # fmt: skip
    folder.mkdir(parents=True)
    name = "data-00000-of-00001.arrow"
    with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
        out.write_table(table)
    state = {
        "_data_files": [{"filename": name}],
        "_fingerprint": "0123456789abcdef",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": folder.name,
    }
    write(folder / "state.json", json.dumps(state))
    features = {
        "audio": {"sampling_rate": 16000, "_type": "Audio"},
        text: {"dtype": "string", "_type": "Value"},
        "speaker_id": {"dtype": "int64", "_type": "Value"},
    }
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    write(folder / "dataset_info.json", json.dumps(info))


def test_a_data_set_with_splits_and_sound_in_its_tables(tmp_path):
    write_sound(tmp_path / "one.flac", 1.0)
    data = (tmp_path / "one.flac").read_bytes()
    stored = {"bytes": data, "path": "one.flac"}
    beside = {"bytes": None, "path": str(tmp_path / "one.flac")}
    root, usage = tmp_path / "set", Usage()
    for part, sound in (
        ("train", stored),
        ("test", stored),
        ("validation", beside),
        ("extra", beside),
    ):
        rows = [{"audio": sound, "text": f" {part}", "speaker_id": 7}]
        if part == "train":
            rows += [
                {"audio": beside, "text": "beside", "speaker_id": 8},
                {"audio": beside, "text": None, "speaker_id": 8},
                {"audio": {"bytes": b"no sound", "path": None}, "text": "bad", "speaker_id": 8},
            ]
        save(root / part, rows)
    write(root / "dataset_dict.json", '{"splits": ["train", "test", "validation", "extra"]}')
    out = tmp_path / "sounds"
    found = hugging_face(root, audio_out=out, usage=usage)
    assert [(u.speaker, u.text, u.split, u.duration_secs) for u in found] == [
        ("7", "train", "train", 1.0),
        ("8", "beside", "train", 1.0),
        ("7", "test", "test", 1.0),
    ]
    assert found[0].audio_path == out / "train" / "0000001.flac"
    assert found[0].audio_path.read_bytes() == data
    assert found[1].audio_path == tmp_path / "one.flac"
    assert {reason: (part.count, part.first) for reason, part in usage.left_out.items()} == {
        "not-chosen": (2, f"{root}: validation"),
        "empty-transcript": (1, f"{root}/train:3"),
        "unreadable-audio": (1, str(out / "train" / "0000004.mp3")),
    }
    with pytest.raises(FedvoiceError, match="--audio-out") as caught:
        hugging_face(root)
    assert caught.value.code is ErrorCode.BAD_CONFIG


def test_a_data_set_without_splits_has_test_utterances_drawn(tmp_path):
    write_sound(tmp_path / "one.flac", 1.0)
    sound = {"bytes": None, "path": str(tmp_path / "one.flac")}
    save(
        tmp_path / "set",
        [{"audio": sound, "text": "a word", "speaker_id": i % 2} for i in range(8)],
        text="words",
    )
    found = hugging_face(tmp_path / "set", text_column="words", test_fraction=0.25)
    assert [(u.speaker, u.split) for u in found].count(("0", "test")) == 1
    with pytest.raises(FedvoiceError, match="--text-column"):
        hugging_face(tmp_path / "set")
    with pytest.raises(FedvoiceError, match="save_to_disk"):
        hugging_face(tmp_path)


@pytest.mark.parametrize(
    ("package", "reader"), [("lhotse", lhotse_cuts), ("datasets", hugging_face)]
)
def test_a_library_that_is_not_installed_is_named(tmp_path, monkeypatch, package, reader):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(FedvoiceError, match=r"fedvoice\[corpora\]") as caught:
        reader(tmp_path)
    assert caught.value.code is ErrorCode.MISSING_EXTRA

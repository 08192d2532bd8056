"""NeMo manifests, plain and tarred, as its scripts write them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from fedvoice.data.corpora.nemo import nemo
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.usage import Usage
from tests.data.corpora.trees import write, write_sound


def lines(*rows: dict[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def tarred(tmp_path: Path) -> Path:
    """Two shards; one name in both, a member nobody names, a member that climbs."""
    root = tmp_path / "tarred"
    root.mkdir()
    sounds = []
    for secs in (0.5, 1.0, 1.5):
        write_sound(tmp_path / "one.wav", secs)
        sounds.append((tmp_path / "one.wav").read_bytes())
    with tarfile.open(root / "audio_0.tar", "w") as shard:
        add(shard, "12-3-0001_wav.wav", sounds[0])
        add(shard, "12-3-0001_wav-sub1.wav", sounds[1])
        add(shard, "._12-3-0001_wav.wav", b"\x00\x05\x16\x07")
    with tarfile.open(root / "audio_1.tar", "w") as shard:
        add(shard, "12-3-0001_wav.wav", sounds[2])
        add(shard, "../../../34-5-0002.wav", sounds[0])
        add(shard, "99-9-0009.wav", sounds[0])
    rows = [
        {"audio_filepath": "12-3-0001_wav.wav", "duration": 0.5, "text": "one", "shard_id": 0},
        {"audio_filepath": "12-3-0001_wav-sub1.wav", "duration": 1.0, "text": "two", "shard_id": 0},
        {"audio_filepath": "12-3-0001_wav.wav", "duration": 1.5, "text": "three", "shard_id": 1},
        {"audio_filepath": "34-5-0002.wav", "duration": 0.5, "text": "four", "shard_id": 1},
        {"audio_filepath": "34-5-0003.wav", "duration": 0.5, "text": "five", "shard_id": 1},
        {"audio_filepath": "34-5-0004.wav", "duration": 0.5, "text": "", "shard_id": 1},
    ]
    write(root / "tarred_audio_manifest.json", lines(*rows))
    write(root / "metadata.yaml", "num_shards: 2\n")
    return root


@pytest.mark.parametrize("tars", ["audio_*.tar", "audio__OP_0..1_CL_.tar", "audio_{0..1}.tar"])
def test_a_tarred_corpus_becomes_files(tarred, tmp_path, tars):
    usage, out = Usage(), tmp_path / "out" / "sounds"
    found = nemo(tarred, tars=tars, audio_out=out, speaker_pattern=r"(\d+)-\d+-\d+", usage=usage)
    assert [(u.text, u.speaker, u.duration_secs) for u in found] == [
        ("one", "12", 0.5), ("two", "12", 1.0), ("three", "12", 1.5), ("four", "34", 0.5),
    ]  # fmt: skip
    assert sorted(str(p.relative_to(tmp_path)) for p in out.rglob("*.wav")) == [
        "out/sounds/audio_0/12-3-0001_wav-sub1.wav",
        "out/sounds/audio_0/12-3-0001_wav.wav",
        "out/sounds/audio_1/12-3-0001_wav.wav",
        "out/sounds/audio_1/34-5-0002.wav",
    ]
    assert {why: part.count for why, part in usage.left_out.items()} == {
        "empty-transcript": 2,  # a line without words, a member without a line
        "missing-audio": 1,
    }


def test_a_tarred_corpus_wants_a_folder_archives_and_whole_ones(tarred, tmp_path):
    with pytest.raises(FedvoiceError, match="--audio-out") as caught:
        nemo(tarred)
    assert caught.value.code is ErrorCode.BAD_CONFIG
    with pytest.raises(FedvoiceError, match="archives of a tarred manifest"):
        nemo(tarred, tars="shard_*.tar", audio_out=tmp_path / "a")
    whole = (tarred / "audio_1.tar").read_bytes()
    (tarred / "audio_1.tar").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(FedvoiceError, match="audio_1") as caught:
        nemo(tarred, audio_out=tmp_path / "b")
    assert caught.value.code is ErrorCode.UNREADABLE_AUDIO


def test_a_plain_manifest_is_checked(tmp_path):
    write_sound(tmp_path / "wav" / "84-121550-0001.wav", 1.0)
    rows = [
        {"audio_filepath": "wav/84-121550-0001.wav", "duration": 1.0, "text": "but with"},
        {"audio_filepath": "wav/84-121550-0002.wav", "duration": 1.0, "text": "the hours of prime"},
    ]  # fmt: skip
    write(tmp_path / "train.json", lines(*rows))
    usage = Usage()
    found = nemo(tmp_path, speaker_pattern=r"/(\d+)-\d+-\d+", usage=usage)
    assert [(u.speaker, u.text, u.split) for u in found] == [("84", "but with", "train")]
    assert usage.left_out["missing-audio"].first.startswith(f"{tmp_path}/train.json:2: ")
    write(tmp_path / "dev.json", lines(*rows))
    with pytest.raises(FedvoiceError, match=r"dev\.json, train\.json"):
        nemo(tmp_path)
    write(tmp_path / "train.json", lines({**rows[0], "duration": -1}))
    with pytest.raises(FedvoiceError, match="duration -1"):
        nemo(tmp_path, manifest="train.json")


@pytest.mark.parametrize("pattern", ["(", "84", r"(\d+)-(\d+)", "/(xyz)-"])
def test_a_pattern_without_a_speaker_is_refused(tmp_path, pattern):
    write_sound(tmp_path / "84-1.wav", 1.0)
    write(tmp_path / "m.json", lines({"audio_filepath": "84-1.wav", "duration": 1, "text": "a"}))
    with pytest.raises(FedvoiceError, match="--speaker-pattern") as caught:
        nemo(tmp_path, speaker_pattern=pattern)
    assert caught.value.code is ErrorCode.BAD_CONFIG

"""LibriSpeech and Multilingual LibriSpeech, as they are unpacked."""

from __future__ import annotations

import pytest

from fedvoice.data.corpora.librispeech import librispeech, mls
from fedvoice.data.corpora.reading import Development
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.usage import Usage
from tests.data.corpora.trees import write, write_sound


def counts(usage: Usage) -> dict[str, tuple[int, str]]:
    return {reason: (part.count, part.first) for reason, part in usage.left_out.items()}


def test_a_chapter_without_its_transcripts_is_named(tmp_path, caplog):
    subset = tmp_path / "LibriSpeech" / "dev-clean"
    for speaker in ("84", "174"):
        for number in range(3):
            write_sound(subset / speaker / "121" / f"{speaker}-121-{number:04d}.flac", 1 + number)
    write(subset / ".DS_Store", "\0")
    write(tmp_path / "LibriSpeech" / "SPEAKERS.TXT", "; ID |SEX| SUBSET\n")
    lines = ("0000 GO DO YOU HEAR", "0002 BUT IN LESS THAN", "0009 NOT THERE")
    chapter = subset / "174" / "121"
    write(chapter / "174-121.trans.txt", "".join(f"174-121-{line}\n" for line in lines))
    usage = Usage()
    found = librispeech(tmp_path, "dev-clean", test_fraction=0, usage=usage)
    assert [(u.speaker, u.text, u.duration_secs) for u in found] == [
        ("174", "GO DO YOU HEAR", 1.0),
        ("174", "BUT IN LESS THAN", 3.0),
    ]
    assert f"{subset}/84/121/84-121.trans.txt is missing: 3 recordings" in caplog.text
    line = f"{chapter}/174-121.trans.txt:3: {chapter}/174-121-0009.flac"
    # Of the other chapter one recording has no line.
    assert counts(usage) == {
        "empty-transcript": (4, f"{chapter}/174-121-0001.flac"),
        "missing-audio": (1, line),
    }
    (chapter / "174-121.trans.txt").unlink()
    with pytest.raises(FedvoiceError) as caught:
        librispeech(tmp_path / "LibriSpeech", "dev-clean")
    assert caught.value.code is ErrorCode.TOO_LITTLE_USABLE
    assert "174-121.trans.txt is missing" in caught.value.got


def test_multilingual_librispeech_has_parts_of_its_own(tmp_path):
    root = tmp_path / "mls_polish_opus"
    for part, name, secs in (
        ("train", "6892_8912_000000", 1.0),
        ("train", "6892_8912_000001", 2.0),
        ("train", "6892_8912_000007", 1.0),
        ("dev", "8758_8338_000066", 1.0),
        ("test", "8758_8338_000067", 1.5),
    ):
        speaker, book, _ = name.split("_")
        path = root / part / "audio" / speaker / book / f"{name}.opus"
        write_sound(path, secs, 48000, format="OGG", subtype="OPUS")
    write(
        root / "train" / "transcripts.txt",
        "6892_8912_000000\tpan wołodyjowski\n6892_8912_000001\tże  tak\n6892_8912_000002\tnie\n",
    )
    url = "http://www.archive.org/download/x_64kb.mp3"
    write(root / "train" / "segments.txt", f"6892_8912_000000\t{url}\t0\t1.0\n")
    write(root / "train" / "limited_supervision" / "9hr" / "handles.txt", "6892_8912_000000\n")
    write(root / "dev" / "transcripts.txt", "8758_8338_000066\ttam\n")
    write(root / "test" / "transcripts.txt", "8758_8338_000067\ttu\n")
    write(root / "metainfo.txt", " SPEAKER   |   GENDER   | PARTITION  \n")
    usage = Usage()
    found = mls(tmp_path, language="polish", usage=usage)
    assert [(u.speaker, u.text, u.duration_secs, u.split) for u in found] == [
        ("6892", "pan wołodyjowski", 1.0, "train"),
        ("6892", "że tak", 2.0, "train"),
        ("8758", "tu", 1.5, "test"),
    ]
    train = root / "train"
    assert counts(usage) == {
        "not-chosen": (1, f"{root}/dev/transcripts.txt:1"),
        "empty-transcript": (1, f"{train}/audio/6892/8912/6892_8912_000007.opus"),
        "missing-audio": (
            1,
            f"{train}/transcripts.txt:3: {train}/audio/6892/8912/6892_8912_000002.flac",
        ),
    }
    assert [u.split for u in mls(root, dev=Development.TEST)][-2:] == ["test", "test"]
    with pytest.raises(FedvoiceError, match=r"no transcripts\.txt"):
        mls(tmp_path, language="german")

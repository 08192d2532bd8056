"""Common Voice: a tree as a release is published, its quirks included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedvoice.data.corpora.common_voice import common_voice
from fedvoice.data.corpora.reading import Development
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.usage import Usage
from tests.data.corpora.trees import write, write_sound

COLUMNS = (
    "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\tage\tgender"
    "\taccents\tvariant\tlocale\tsegment\n"
)
A, B, C = "a" * 128, "b" * 128, "c" * 128


def row(speaker: str, clip: int, sentence: str, up: str = "2", down: str = "0") -> str:
    named = f"{speaker}\tcommon_voice_cy_{clip}.mp3\t{clip:064x}"
    return f"{named}\t{sentence}\t\t{up}\t{down}\t\t\t\t\tcy\t\n"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """cv-corpus-17.0-2024-03-15/cy: four clips, one that is gone, stray files."""
    cy = tmp_path / "cv-corpus-17.0-2024-03-15" / "cy"
    for clip in (1, 2, 3, 4):
        write_sound(cy / "clips" / f"common_voice_cy_{clip}.mp3", clip / 2, 32000, format="MP3")
    (cy / "clips" / "._common_voice_cy_1.mp3").write_bytes(b"\x00\x05\x16\x07")
    write(
        cy / "train.tsv",
        # A quote that nobody closes, a line separator inside a sentence, no votes.
        COLUMNS + row(A, 1, '"Bore da, meddai') + row(A, 2, "Nos\u2028da.", "", "")
        + row(B, 9, "Mae'r ffeil ar goll."),
    )  # fmt: skip
    write(cy / "dev.tsv", COLUMNS + row(B, 3, "Diolch."))
    write(cy / "test.tsv", COLUMNS + row(C, 4, '"""Croeso"" meddai hi."', "3", "1"))
    rows = [(A, 1, '"Bore da, meddai'), (A, 2, "Nos\u2028da."), (B, 3, "Diolch."), (C, 4, " ")]
    write(cy / "validated.tsv", COLUMNS + "".join(row(*r) for r in rows))
    write(cy / "invalidated.tsv", COLUMNS)
    write(cy / "reported.tsv", "sentence_id\tsentence\tlocale\treason\n")
    write(
        cy / "clip_durations.tsv",
        "clip\tduration[ms]\n"
        + "".join(f"common_voice_cy_{clip}.mp3\t{clip * 500}\n" for clip in (1, 2, 3, 4)),
    )
    return cy.parent


def test_the_release_says_who_trains_and_who_is_tested(release):
    usage = Usage()
    found = common_voice(release, usage=usage)
    assert [(u.speaker, u.text, u.duration_secs, u.split) for u in found] == [
        (A, '"Bore da, meddai', 0.5, "train"),
        (A, "Nos da.", 1.0, "train"),
        (C, '"Croeso" meddai hi.', 2.0, "test"),
    ]
    assert found[0].audio_path == release / "cy" / "clips" / "common_voice_cy_1.mp3"
    assert {why: part.count for why, part in usage.left_out.items()} == {
        "missing-audio": 1,
        "not-chosen": 1,
    }
    assert usage.left_out["missing-audio"].first.startswith(f"{release}/cy/train.tsv:4: ")
    assert usage.used == 3


def test_lengths_are_those_of_the_clips_where_no_table_has_them(release):
    (release / "cy" / "clip_durations.tsv").unlink()
    found = common_voice(release / "cy", dev=Development.TRAIN)
    assert [u.duration_secs for u in found] == [0.5, 1.0, 1.5, 2.0]
    assert [u.split for u in found] == ["train", "train", "train", "test"]


def test_all_validated_clips_with_test_clips_drawn(release):
    usage = Usage()
    found = common_voice(
        release, locale="cy", split_by_release=False, test_fraction=0.5, usage=usage
    )
    assert sorted((u.speaker, u.split) for u in found) == [
        (A, "test"), (A, "train"), (B, "train"),
    ]  # fmt: skip
    assert usage.left_out["empty-transcript"].first == f"{release}/cy/validated.tsv:5"


def test_votes_and_lengths_choose(release):
    usage = Usage()
    found = common_voice(release, min_up_votes=1, max_down_votes=0, max_secs=1, usage=usage)
    assert [u.duration_secs for u in found] == [0.5]
    assert usage.left_out["not-chosen"].count == 3  # development, no votes, a vote against


def test_a_release_without_its_split_is_read_from_validated(release, caplog):
    (release / "cy" / "train.tsv").unlink()
    assert len(common_voice(release)) == 3
    assert "no train.tsv" in caplog.text


def test_what_is_no_release_or_several_is_said(release, tmp_path):
    with pytest.raises(FedvoiceError, match=r"no validated\.tsv") as caught:
        common_voice(release / "cy" / "clips")
    assert caught.value.code is ErrorCode.NOT_FOUND
    write(release / "br" / "validated.tsv", COLUMNS)
    with pytest.raises(FedvoiceError, match="the languages br, cy, not de"):
        common_voice(release, locale="de")
    write(release / "cy" / "train.tsv", COLUMNS + "too\tfew\n")
    with pytest.raises(FedvoiceError, match="got 2 fields") as caught:
        common_voice(release, locale="cy")
    assert caught.value.where == f"{release}/cy/train.tsv:2"
    write(release / "cy" / "train.tsv", "client_id,path,sentence\n")
    with pytest.raises(FedvoiceError, match="no column client_id"):
        common_voice(release, locale="cy")


def test_the_command_says_what_it_passed_over(release, tmp_path, fedvoice):
    out = tmp_path / "cy.jsonl"
    done = fedvoice("data", "common-voice", "--root", release, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "3 utterances used; left out: 1 missing-audio (first: " in done.stdout
    done = fedvoice(
        "data", "common-voice", "--root", release, "--out", out, "--resample", 16000, "--json"
    )
    facts = json.loads(done.stdout)
    assert (facts["train"], facts["test"], facts["speakers"], facts["seconds"]) == (2, 1, 2, 3.5)
    assert facts["left_out"] == {"missing-audio": 1, "not-chosen": 1}

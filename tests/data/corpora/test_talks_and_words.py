"""TED-LIUM, Speech Commands and VoxForge, as they are unpacked."""

from __future__ import annotations

import pytest

from fedvoice.data.audio import read_sound
from fedvoice.data.corpora.reading import Development
from fedvoice.data.corpora.speech_commands import speech_commands
from fedvoice.data.corpora.tedlium import tedlium
from fedvoice.data.corpora.voxforge import voxforge
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.usage import Usage
from tests.data.corpora.trees import write, write_sound


@pytest.mark.parametrize("top", ["", "legacy"])
def test_talks_are_cut_into_segments(tmp_path, top):
    root = tmp_path / "TEDLIUM_release-3" / top
    for part, talk in (("train", "AlGore_2006"), ("test", "AimeeMullins_2009P"), ("dev", "Al_1")):
        write_sound(root / part / "sph" / f"{talk}.sph", 20.0, format="NIST", subtype="PCM_16")
    stm = root / "train" / "stm" / "AlGore_2006.stm"
    write(
        stm,
        ";; CATEGORY \"0\" \"\" \"\"\n"
        "AlGore_2006 1 AlGore_2006 0.00 4.50 <o,f0,male> and it 's a(2) great honor\n"
        "AlGore_2006 1 inter_segment_gap 4.50 8.00 <o,,unknown> ignore_time_segment_in_scoring\n"
        "AlGore_2006 1 AlGore_2006 8.00 12.25 <NA> <unk> i {NOISE} say don 't\n"
        "GaryFlake_2010 1 GaryFlake_2010 0.1 2.0 <NA> no sound\n",
    )  # fmt: skip
    write(root / "train" / "stm" / "._AlGore_2006.stm", "\0")
    aimee = "AimeeMullins_2009P 1 AimeeMullins_2009P"
    write(
        root / "test" / "stm" / "AimeeMullins_2009P.stm", f"{aimee} 17.82 19.5 <o,f0> i 'd like\n"
    )
    write(root / "dev" / "stm" / "Al_1.stm", "Al_1 1 Al 0 1 <NA> one\n")
    usage = Usage()
    found = tedlium(tmp_path / "TEDLIUM_release-3", usage=usage)
    assert [(u.speaker, u.text, u.offset_secs, u.duration_secs, u.split) for u in found] == [
        ("AlGore_2006", "and it's a great honor", 0.0, 4.5, "train"),
        ("AlGore_2006", "<unk> i {NOISE} say don't", 8.0, 4.25, "train"),
        ("AimeeMullins_2009P", "i'd like", 17.82, 1.68, "test"),
    ]
    waveform, rate = read_sound(found[1].audio_path, "", 8.0, 4.25)
    assert (waveform.size, rate) == (68000, 16000)
    assert {reason: part.count for reason, part in usage.left_out.items()} == {
        "not-chosen": 2,
        "missing-audio": 1,
    }
    write(stm, "AlGore_2006 1 AlGore_2006 4.5 0.0 <NA> backwards\n")
    with pytest.raises(FedvoiceError) as caught:
        tedlium(tmp_path / "TEDLIUM_release-3")
    assert caught.value.where == f"{stm}:1"


def test_speech_commands_count_what_the_lists_set_aside(tmp_path):
    root = tmp_path / "speech_commands_v0.02"
    for name in ("yes/0a7c2a8d_nohash_0", "yes/0a7c2a8d_nohash_1", "no/1b4c9b89_nohash_0"):
        write_sound(root / f"{name}.wav", 1.0)
    write_sound(root / "_background_noise_" / "doing_the_dishes.wav", 1.0)
    write(root / "yes" / "._0a7c2a8d_nohash_0.wav", "\0")
    write(root / "README.md", "# Speech Commands Data Set v0.02\n")
    write(root / "validation_list.txt", "yes/0a7c2a8d_nohash_1.wav\n")
    write(root / "testing_list.txt", "no/1b4c9b89_nohash_0.wav\nno/ffffffff_nohash_0.wav\n")
    usage = Usage()
    found = speech_commands(root, usage=usage)
    assert [(u.text, u.speaker, u.split) for u in found] == [
        ("yes", "0a7c2a8d", "train"),
        ("no", "1b4c9b89", "test"),
    ]
    assert {reason: part.count for reason, part in usage.left_out.items()} == {
        "not-chosen": 1,
        "missing-audio": 1,
    }
    assert len(speech_commands(tmp_path, dev=Development.TRAIN)) == 3


def test_voxforge_submissions(tmp_path):
    for folder, kind in (("ann-20080111-abc", "wav"), ("ann-20090222-xyz", "flac"),
                         ("anonymous-20080101-aaa", "wav"), ("anonymous-20080102-bbb", "wav"),
                         ("Jürgen-20100101-old", "wav")):  # fmt: skip
        for name in ("a0001", "a0002"):
            write_sound(tmp_path / folder / kind / f"{name}.{kind}", 1.0)
        etc = tmp_path / folder / "etc"
        write(etc / "PROMPTS", f"{folder}/mfc/a0001 ONE\n{folder}/mfc/a0002 TWO\n")
        write(etc / "README", "User Name: ann\n")
        write(tmp_path / folder / "LICENSE", "GPL\n")
    write(tmp_path / "ann-20080111-abc" / "etc" / "prompts-original", "a0001 One,\na0003 Three.\n")
    prompts = tmp_path / "Jürgen-20100101-old" / "etc" / "PROMPTS"
    prompts.write_bytes("Jürgen-20100101-old/mfc/a0001 ÜBER\n".encode("latin-1"))
    write(tmp_path / "ann-20080111-abc" / "wav" / ".DS_Store", "\0")
    usage = Usage()
    found = voxforge(tmp_path, test_fraction=0, usage=usage)
    assert [(u.speaker, u.text) for u in found] == [
        ("ann", "One,"), ("ann", "ONE"), ("ann", "TWO"),
        ("anonymous-20080101-aaa", "ONE"), ("anonymous-20080101-aaa", "TWO"),
        ("anonymous-20080102-bbb", "ONE"), ("anonymous-20080102-bbb", "TWO"),
    ]  # fmt: skip
    assert {reason: part.count for reason, part in usage.left_out.items()} == {
        "unsupported-text": 2,
        "empty-transcript": 1,
        "missing-audio": 1,
    }
    assert usage.left_out["unsupported-text"].first.startswith(f"{prompts}:1: byte 0xfc")


@pytest.mark.parametrize("reader", [tedlium, speech_commands, voxforge])
def test_a_folder_that_is_no_such_corpus_is_named(tmp_path, reader):
    with pytest.raises(FedvoiceError, match=str(tmp_path)) as caught:
        reader(tmp_path)
    assert caught.value.code is ErrorCode.NOT_FOUND

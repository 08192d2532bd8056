"""What sound files really hold. The table of docs/data.md is made and read here."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from fedvoice.android_harness.emulation.recordings import for_android
from fedvoice.data.audio import read_facts, read_sound, read_waveform
from fedvoice.data.loaders import folder
from fedvoice.data.wav import read_wav_header
from fedvoice.device_runtime.cli import add_manifest
from fedvoice.device_runtime.store import ExampleStore, NewExample, Split
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import FeatureSettings
from fedvoice.protocol.usage import Usage
from fedvoice.protocol.utterances import Utterance, write_manifest
from fedvoice.simulation.speech import FeatureLibrary

RATE = 16000
SETTINGS = FeatureSettings()
DOCS = Path(__file__).parents[2] / "docs" / "data.md"


def tone(samples: int = RATE) -> np.ndarray:
    """Silence for a quarter, then a loud tone: its first loud sample tells the delay."""
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(samples) / RATE)
    wave[: samples // 4] = 0
    return wave.astype(np.float32)


def by_soundfile(samples: np.ndarray, kind: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=kind, subtype=subtype)
    return file.getvalue()


def by_pyav(samples: np.ndarray, container: str, codec: str, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(
            format=stream.codec_context.format,
            layout="mono",
            rate=rate,
            frame_size=stream.codec_context.frame_size or 1024,
        )
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return file.getvalue()


def without_length_frame(mp3: bytes) -> bytes:
    """Without the frame that holds the length, as streams and cuts are."""
    second = mp3.index(mp3[:2], 4)
    return mp3[second:]


MAKERS: dict[str, Callable[[], bytes]] = {
    "wav": lambda: by_soundfile(tone(), "WAV"),
    "flac": lambda: by_soundfile(tone(), "FLAC"),
    "ogg (vorbis)": lambda: by_soundfile(tone(), "OGG", "VORBIS"),
    "opus": lambda: by_soundfile(tone(), "OGG", "OPUS"),
    "mp3": lambda: by_soundfile(tone(), "MP3"),
    "mp3 without a length": lambda: without_length_frame(by_soundfile(tone(), "MP3")),
    "m4a (aac)": lambda: by_pyav(tone(), "ipod", "aac"),
    "webm (opus)": lambda: by_pyav(tone(), "webm", "libopus", 48000),
}


def test_the_table_of_the_documentation(tmp_path: Path) -> None:
    """Container, length and first loud sample of one second, silent for its first quarter."""
    rows = re.findall(r"^\| ([^|]+) \| (\d+) Hz \| (\d+) \| (\d+) \|", DOCS.read_text(), re.M)
    stated = {name.strip(): tuple(map(int, found)) for name, *found in rows}
    found = {}
    for name, make in MAKERS.items():
        sound = make()
        facts = read_facts(sound, name)
        waveform, rate = read_sound(sound, name)
        assert (facts.samples, facts.sample_rate) == (waveform.size, rate), name
        found[name] = (rate, waveform.size, int(np.argmax(np.abs(waveform) > 0.05)))
    assert stated == found


@pytest.mark.parametrize("name", MAKERS)
def test_a_segment_is_what_stands_in_the_whole_recording(tmp_path: Path, name: str) -> None:
    path = tmp_path / "sound"
    path.write_bytes(MAKERS[name]())
    whole, rate = read_sound(path, name)
    for audio in (path, path.read_bytes(), path):
        part, _ = read_sound(audio, name, 0.25, 0.5)
        begin = round(0.25 * rate)
        np.testing.assert_array_equal(part, whole[begin : begin + round(0.5 * rate)])


def test_a_segment_outside_the_recording_is_named() -> None:
    sound = by_soundfile(tone(), "WAV")
    assert read_sound(sound, "", 0.5, 0.54)[0].size == RATE // 2
    for offset, secs in ((0.5, 0.6), (1.5, 0.1), (-0.5, 0.4)):
        with pytest.raises(FedvoiceError) as caught:
            read_sound(sound, "a.wav", offset, secs)
        assert caught.value.code is ErrorCode.UNREADABLE_AUDIO
        assert "segment" in caught.value.got


def test_a_live_flac_knows_no_length() -> None:
    """RFC 9639, 8.2: 0 samples means unknown."""
    flac = bytearray(by_soundfile(tone(8000), "FLAC"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    assert read_facts(bytes(flac), "").samples == 8000
    np.testing.assert_array_equal(
        read_sound(bytes(flac), "")[0], read_sound(by_soundfile(tone(8000), "FLAC"), "")[0]
    )


def with_size(wav: bytes, size: int) -> bytes:
    return wav[:40] + struct.pack("<I", size) + wav[44:]


@pytest.mark.parametrize(
    ("change", "samples"),
    [
        (lambda wav: with_size(wav, 0xFFFFFFFF), 1000),
        (lambda wav: with_size(wav, 0x7FFFFFFF), 1000),
        (lambda wav: with_size(wav, 0), 1000),
        (lambda wav: with_size(wav, 400), 200),
        (lambda wav: wav[:-501], 749),
        (lambda wav: with_size(wav[:44], 0), 0),
        (lambda wav: with_size(wav[:44], 0) + b"LIST\4\0\0\0INFO", 0),
    ],
    ids=["pipe", "sox pipe", "killed", "trailing", "cut", "empty", "empty and tagged"],
)
def test_wav_lengths_are_those_of_the_file(
    tmp_path: Path, change: Callable[[bytes], bytes], samples: int
) -> None:
    sound = change(by_soundfile(tone(1000) + 0.1, "WAV", "PCM_16"))
    path = tmp_path / "a.wav"
    path.write_bytes(sound)
    wanted = (np.round((tone(1000) + 0.1) * 32767) / 32768)[:samples]
    for audio in (sound, path):
        assert read_facts(audio, "").samples == samples
        found, _ = read_sound(audio, "")
        np.testing.assert_allclose(found, wanted, atol=2 / 32768)
        if samples > 600:
            part, _ = read_sound(audio, "", 0.01, 0.02)
            np.testing.assert_array_equal(part, found[160:480])


def odd_wav(tag: int, bits: int, data: bytes, *, big: bool = False) -> bytes:
    order = ">" if big else "<"
    frame = -(-bits // 8)
    layout = struct.pack(order + "HHIIHH", tag, 1, RATE, RATE * frame, frame, bits)
    return (
        (b"RIFX" if big else b"RIFF")
        + struct.pack(order + "I", 36 + len(data))
        + b"WAVEfmt "
        + struct.pack(order + "I", 16)
        + layout
        + b"data"
        + struct.pack(order + "I", len(data))
        + data
    )


def three_bytes(values: np.ndarray) -> bytes:
    return values.astype("<i4").view("u1").reshape(-1, 4)[:, :3].tobytes()


STEPS = np.arange(-600, 600)
ODD_WAVS = {
    "5 bits": odd_wav(1, 5, (np.tile(np.arange(0, 256, 8), 40)).astype(np.uint8).tobytes()),
    "12 bits": odd_wav(1, 12, (STEPS * 16).astype("<i2").tobytes()),
    "20 bits": odd_wav(
        1, 20, b"".join(int(s * 4096).to_bytes(3, "little", signed=True) for s in STEPS)
    ),
    "RIFX": odd_wav(1, 16, STEPS.astype(">i2").tobytes(), big=True),
    "RF64": by_soundfile(tone(), "RF64", "PCM_16"),
    "A-law": by_soundfile(tone(), "WAV", "ALAW"),
    "mu-law": by_soundfile(tone(), "WAV", "ULAW"),
    "flac": by_soundfile(tone(), "FLAC"),
    "no length": with_size(by_soundfile(tone(), "WAV"), 0),
    "mp3": by_soundfile(tone(), "MP3"),
}


@pytest.mark.parametrize("name", ODD_WAVS)
def test_an_android_phone_is_handed_what_it_reads(tmp_path: Path, name: str) -> None:
    """The samples are those that the Python phone trains on."""
    path = tmp_path / "sound.wav"
    path.write_bytes(ODD_WAVS[name])
    wav = for_android(path)
    assert isinstance(wav, bytes)
    header = read_wav_header(io.BytesIO(wav), len(wav))
    assert header is not None
    assert header.read_by_phones
    np.testing.assert_array_equal(
        read_waveform(wav, SETTINGS, ""), read_waveform(path, SETTINGS, "")
    )


def test_12_bits_lie_in_the_upper_bits_of_two_bytes() -> None:
    waveform = read_waveform(ODD_WAVS["12 bits"], SETTINGS, "")
    np.testing.assert_array_equal(waveform, (STEPS * 16 / 32768).astype(np.float32))


def test_plain_wav_is_handed_over_as_it_is_and_a_segment_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(by_soundfile(tone(), "WAV"))
    assert for_android(path) == path
    part = for_android(path, 0.25, 0.5)
    assert isinstance(part, bytes)
    np.testing.assert_array_equal(read_sound(part, "")[0], read_sound(path, "", 0.25, 0.5)[0])
    assert len(part) == 44 + 2 * RATE // 2


@pytest.mark.parametrize(
    ("samples", "code", "said"),
    [
        (np.where(np.arange(1000) == 7, np.nan, 0.1), ErrorCode.NOT_FINITE, "1 of 1000"),
        (np.where(np.arange(1000) == 7, -np.inf, 0.1), ErrorCode.NOT_FINITE, "1 of 1000"),
        (np.full(1000, 30000.0), ErrorCode.UNREADABLE_AUDIO, "up to 30000"),
    ],
)
def test_floats_that_are_no_sound_are_named(
    samples: np.ndarray, code: ErrorCode, said: str
) -> None:
    with pytest.raises(FedvoiceError) as caught:
        read_waveform(by_soundfile(samples, "WAV", "FLOAT"), SETTINGS, "a.wav")
    assert caught.value.code is code
    assert said in caught.value.got


def test_a_little_overshoot_is_sound() -> None:
    assert read_waveform(by_soundfile(tone() * 3, "WAV", "FLOAT"), SETTINGS, "").max() > 1.4


@pytest.mark.parametrize("name", ["wav", "flac", "ogg (vorbis)", "mp3", "m4a (aac)", "webm (opus)"])
def test_whatever_a_decoder_raises_is_named_with_its_file(tmp_path: Path, name: str) -> None:
    """Damage is read as far as a decoder goes, or named; nothing else."""
    sound = MAKERS[name]()
    random = np.random.default_rng(0)
    refused: list[FedvoiceError] = []
    for _ in range(40):
        damaged = bytearray(sound[: random.integers(1, len(sound) + 1)])
        for place in random.integers(0, len(damaged), 8):
            damaged[place] = random.integers(256)
        for read in (read_facts, read_sound):
            try:
                read(bytes(damaged), "the kitchen")
            except FedvoiceError as error:
                refused.append(error)
    assert {(error.code, error.where) for error in refused} <= {
        (ErrorCode.UNREADABLE_AUDIO, "the kitchen")
    }


def test_a_flac_that_ends_early_is_named() -> None:
    sound = by_soundfile(np.random.default_rng(0).uniform(-0.5, 0.5, 20000), "FLAC")
    with pytest.raises(FedvoiceError, match="unreadable-audio"):
        read_sound(sound[: len(sound) // 2], "a.flac")


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FedvoiceError, match="unreadable-audio"):
        read_facts(tmp_path, "a")


def test_resampling_is_done_on_request_alone() -> None:
    time = np.arange(48000) / 48000
    file = io.BytesIO()
    soundfile.write(
        file, 0.5 * np.sin(2 * np.pi * 440 * time), 48000, format="WAV", subtype="FLOAT"
    )
    with pytest.raises(FedvoiceError, match="wrong-sample-rate"):
        read_waveform(file.getvalue(), SETTINGS, "")
    found = read_waveform(file.getvalue(), SETTINGS, "", resample=True)
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(found[200:-200], wanted[200:-200], atol=1e-4)


def test_segments_are_stored_by_reference_and_trained_on_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(by_soundfile(tone(), "WAV"))
    parts = [Utterance(path, "yes", 0.25, "a", offset_secs=offset) for offset in (0.125, 0.5)]
    write_manifest(tmp_path / "manifest.jsonl", parts)
    store = ExampleStore(tmp_path / "store")
    assert add_manifest(store, tmp_path) == 2
    assert add_manifest(store, tmp_path) == 0
    rows = store.examples(Split.TRAIN)
    assert [(r.samples, r.offset_secs, r.segment_secs) for r in rows] == [
        (4000, 0.125, 0.25),
        (4000, 0.5, 0.25),
    ]
    library = FeatureLibrary(SETTINGS)
    half, loud = (library.features_of(part) for part in parts)
    assert half.shape == loud.shape == (SETTINGS.frames(4000), SETTINGS.mel_bins)
    assert not np.array_equal(half, loud)


def test_a_store_of_the_last_release_takes_segments(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "store") as connection:
        connection.execute(
            "CREATE TABLE examples (id INTEGER PRIMARY KEY AUTOINCREMENT, audio_path TEXT,"
            " audio BLOB, held_bytes INTEGER NOT NULL, sample_rate INTEGER NOT NULL,"
            " samples INTEGER NOT NULL, transcript TEXT NOT NULL, source TEXT NOT NULL,"
            " split TEXT NOT NULL, added_secs REAL NOT NULL)"
        )
        connection.execute(
            "INSERT INTO examples VALUES"
            " (1, '/a.wav', NULL, 0, 16000, 800, 'yes', 'own', 'train', 0)"
        )
    store = ExampleStore(tmp_path / "store")
    sound = by_soundfile(tone(), "WAV")
    store.add(NewExample(sound, "no", offset_secs=0.5, duration_secs=0.25))
    assert [(r.samples, r.offset_secs) for r in store.examples(Split.TRAIN)] == [
        (800, None),
        (4000, 0.5),
    ]


def test_hidden_files_of_other_systems_are_passed_over(tmp_path: Path) -> None:
    anna = tmp_path / "anna"
    anna.mkdir()
    (anna / "1.wav").write_bytes(by_soundfile(tone(), "WAV"))
    (anna / "1.txt").write_text("\ufeffyes\r\n")
    for name in ("anna/._1.wav", ".DS_Store", "anna/.DS_Store", "README.txt"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert [(u.text, u.duration_secs) for u in folder(tmp_path)] == [("yes", 1.0)]
    (anna / "2.wav").write_bytes(by_soundfile(tone(), "WAV"))
    (anna / "3.wav").write_bytes(b"no sound")
    (anna / "3.txt").write_text("no")
    usage = Usage()
    assert [u.text for u in folder(tmp_path, usage=usage)] == ["yes"]
    assert usage.as_dict()["first_left_out"] == {
        "empty-transcript": str(anna / "2.wav"),
        "unreadable-audio": str(anna / "3.wav"),
    }
    (anna / "1.txt").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(FedvoiceError, match=r"1.txt.*0xe9 at offset 3"):
        folder(tmp_path)

"""What reading a corpus costs, against well-kept libraries in the same run.

    python -m benchmarks.corpora --json

`readers`: utterances a second of each reader, and its time as a multiple of its reference's (at
most 1.5). `decoders`: seconds of sound a second, and the time as a multiple of the library called
directly (at most 1.1). `check`: rows a second of `fedvoice data check --no-listen`, against bare
`soundfile.info` calls on the same files (at most 1.3), and `peak_bytes`, the peak memory of a fresh
process that checks a million rows, duplicates included (below 500 MB); `read_peak_bytes`, of one
that holds them all. Each time is the best of several, taken in turns.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16000
SOUND_SECS = 20.0
Pair = tuple[Callable[[], object], Callable[[], object]]
"""Ours, and the reference."""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="of the manifest that is read")
    parser.add_argument("--files", type=int, default=2000, help="files that are checked")
    parser.add_argument("--most-rows", type=int, default=1_000_000, help="for the peak memory")
    parser.add_argument("--runs", type=int, default=5, help="of each side")
    parser.add_argument("--json", action="store_true", help="print only a JSON object")
    parser.add_argument("--peak-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        what, manifest = options.peak_of
        print(json.dumps(peak_of(what, Path(manifest))))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        result = {
            "readers": list(readers(root, options.rows, options.runs)),
            "decoders": list(decoders(root, options.runs)),
            "check": check(root, options.files, options.most_rows, options.runs),
        }
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))


def best(ours: Callable[[], object], reference: Callable[[], object], runs: int) -> Any:
    """The shortest times of both, in turns."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for times, call in zip(took, (ours, reference), strict=True):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
    return min(took[0]), min(took[1])


def manifest_reader(root: Path, rows: int) -> tuple[str, str, Pair]:
    """Our manifest, against lhotse's cuts of the same utterances."""
    from lhotse import CutSet

    from fedvoice.protocol.utterances import read_manifest

    ours, cuts = root / "manifest.jsonl", root / "cuts.jsonl"
    with ours.open("w") as nemo, cuts.open("w") as lhotse:
        for i in range(rows):
            audio, secs, speaker = f"clips/{i % 999}/{i:07d}.wav", 1.5 + i % 100 / 10, f"s{i % 99}"
            row = {"audio_filepath": audio, "text": f"sentence number {i} of them all"}
            nemo.write(json.dumps({**row, "duration": secs, "speaker": speaker}) + "\n")
            lhotse.write(json.dumps(cut_of(str(i), audio, secs, speaker, row["text"])) + "\n")

    def read() -> object:
        return read_manifest(ours, check_audio=False)

    return "manifest", "lhotse CutSet.from_jsonl", (read, lambda: list(CutSet.from_jsonl(cuts)))


def common_voice_reader(root: Path, rows: int) -> tuple[str, str, Pair]:
    """A table of a release, against csv and a look for each clip. lhotse opens every clip."""
    import csv

    from fedvoice.data.corpora.common_voice import common_voice

    folder = root / "cy"
    (folder / "clips").mkdir(parents=True)
    head = ("client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes",
            "down_votes", "age", "gender", "accents", "variant", "locale", "segment")  # fmt: skip
    with (folder / "train.tsv").open("w") as table, (folder / "clip_durations.tsv").open("w") as of:
        table.write("\t".join(head) + "\n")
        of.write("clip\tduration[ms]\n")
        for i in range(rows):
            clip, speaker = f"common_voice_cy_{i}.mp3", f"{i % 999:0128x}"
            (folder / "clips" / clip).touch()
            fields = (speaker, clip, f"{i:064x}", f"sentence number {i}", "", "2", "0")
            table.write("\t".join((*fields, "", "", "", "", "cy", "")) + "\n")
            of.write(f"{clip}\t{1000 + i % 9000}\n")
    for part in ("dev", "test", "validated"):
        (folder / f"{part}.tsv").write_text("\t".join(head) + "\n")

    def by_csv() -> object:
        with (folder / "clip_durations.tsv").open() as file:
            secs = {row[0]: row[1] for row in csv.reader(file, delimiter="\t")}
        with (folder / "train.tsv").open(newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            return [
                (row["client_id"], row["sentence"], secs[row["path"]])
                for row in rows
                if (folder / "clips" / row["path"]).is_file()
            ]

    return "common-voice", "csv.DictReader", (lambda: common_voice(folder), by_csv)


def kaldi_reader(root: Path, rows: int) -> tuple[str, str, Pair]:
    """A data directory with segments, ten a recording, none drawn for testing; against lhotse's."""
    from lhotse.kaldi import load_kaldi_data_dir

    from fedvoice.data.corpora.kaldi import kaldi

    folder = root / "kaldi"
    (folder / "wav").mkdir(parents=True)
    names = ("wav.scp", "reco2dur", "segments", "text", "utt2spk")
    tables: dict[str, list[str]] = {name: [] for name in names}
    for i in range(rows):
        recording, key, begin = f"r{i // 10:06d}", f"s{i % 99:02d}-{i:07d}", i % 10 * 3
        if i % 10 == 0:
            (folder / "wav" / f"{recording}.wav").touch()
            tables["wav.scp"].append(f"{recording} {folder}/wav/{recording}.wav")
            tables["reco2dur"].append(f"{recording} 30.0")
        tables["segments"].append(f"{key} {recording} {begin} {begin + 2.5}")
        tables["text"].append(f"{key} sentence number {i}")
        tables["utt2spk"].append(f"{key} s{i % 99:02d}")
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines) + "\n")

    def by_lhotse() -> object:
        return load_kaldi_data_dir(folder, RATE)

    return (
        "kaldi",
        "lhotse load_kaldi_data_dir",
        (lambda: kaldi(folder, test_fraction=0), by_lhotse),
    )


READERS: list[Callable[[Path, int], tuple[str, str, Pair]]] = [
    manifest_reader,
    common_voice_reader,
    kaldi_reader,
]
"""Each makes its corpus of so many utterances: the reader's name, its reference, both calls."""


def readers(root: Path, rows: int, runs: int) -> Iterator[dict[str, object]]:
    """Utterances a second of each reader."""
    for make in READERS:
        name, reference, (ours, theirs) = make(root, rows)
        secs, reference_secs = best(ours, theirs, runs)
        yield {
            "name": name,
            "utterances_per_sec": round(rows / secs),
            "reference": reference,
            "ratio": round(secs / reference_secs, 3),
        }


def decoders(root: Path, runs: int) -> Iterator[dict[str, object]]:
    """Seconds of sound a second of each format."""
    import soundfile

    from fedvoice.data.audio import read_sound

    wave = np.random.default_rng(0).normal(0, 0.1, int(SOUND_SECS * RATE)).astype(np.float32)
    for name, kind in (("wav", "WAV"), ("flac", "FLAC"), ("ogg", "OGG"), ("mp3", "MP3")):
        soundfile.write(root / f"a.{name}", wave, RATE, format=kind)
    soundfile.write(root / "a.opus", wave, RATE, format="OGG", subtype="OPUS")
    write_by_pyav(root / "a.m4a", wave, "ipod", "aac", RATE)
    write_by_pyav(root / "a.webm", wave, "webm", "libopus", 48000)

    def by_soundfile(path: Path) -> object:
        return soundfile.read(path, dtype="float32")

    def by_pyav(path: Path) -> object:
        import av

        with av.open(str(path)) as opened:
            return np.concatenate([f.to_ndarray() for f in opened.decode(audio=0)], axis=1)

    for name in ("wav", "flac", "ogg", "opus", "mp3", "m4a", "webm"):
        path = root / f"a.{name}"
        direct = by_pyav if name in ("mp3", "m4a", "webm") else by_soundfile
        secs, reference_secs = best(
            lambda path=path: read_sound(path, "a"),  # type: ignore[misc]
            lambda path=path, direct=direct: direct(path),  # type: ignore[misc]
            4 * runs,
        )
        yield {
            "format": name,
            "realtime_factor": round(SOUND_SECS / secs),
            "reference": "PyAV" if direct is by_pyav else "soundfile",
            "ratio": round(secs / reference_secs, 3),
        }


def check(root: Path, files: int, most_rows: int, runs: int) -> dict[str, object]:
    """Rows a second of a check against headers, and the peak memory of a large one."""
    import soundfile

    from fedvoice.data.check import check_manifest

    folder = root / "files"
    folder.mkdir()
    random = np.random.default_rng(1)
    rows = []
    for i in range(files):
        samples = random.normal(0, 0.1, 3200 + i).astype(np.float32)
        name = f"{i:05d}.{'flac' if i % 2 else 'wav'}"
        soundfile.write(folder / name, samples, RATE)
        rows.append({**row_of(name, samples.size / RATE, i), "text": "one two three"})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = [str(folder / str(row["audio_filepath"])) for row in rows]
    secs, reference_secs = best(
        lambda: check_manifest(manifest, listen=False),
        lambda: [soundfile.info(path) for path in paths],
        runs,
    )
    large = folder / "large.jsonl"
    with large.open("w") as file:
        for i in range(most_rows):
            row = row_of(str(rows[i % files]["audio_filepath"]), 0.0001, i)
            text = f"sentence number {i % 5000} of them all"
            file.write(json.dumps({**row, "offset": i // files * 0.0002, "text": text}) + "\n")
    peaks = {what: in_a_process(what, large) for what in ("check", "read")}
    return {
        "rows_per_sec": round(files / secs),
        "reference": "soundfile.info",
        "reference_rows_per_sec": round(files / reference_secs),
        "ratio": round(secs / reference_secs, 3),
        "peak_rows": most_rows,
        "peak_bytes": peaks["check"]["peak_bytes"],
        "peak_check_secs": peaks["check"]["secs"],
        "read_peak_bytes": peaks["read"]["peak_bytes"],
    }


def in_a_process(what: str, manifest: Path) -> dict[str, Any]:
    """`peak_of` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.corpora", "--peak-of", what, str(manifest)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def peak_of(what: str, manifest: Path) -> dict[str, object]:
    """Peak memory and seconds of this process, which checks or reads a manifest."""
    from fedvoice.data.check import check_manifest
    from fedvoice.protocol.utterances import read_manifest

    began = time.perf_counter()
    if what == "check":
        rows = check_manifest(manifest, listen=False).utterances
    else:
        rows = len(read_manifest(manifest, check_audio=False))
    assert rows
    return {
        "peak_bytes": peak_bytes(),
        "secs": round(time.perf_counter() - began, 1),
    }


def peak_bytes() -> int:
    """Peak memory of this process. Not `ru_maxrss`, which begins at the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def row_of(audio: str, secs: float, i: int) -> dict[str, object]:
    """A manifest's line without its text."""
    split = "test" if i % 10 == 0 else "train"
    return {"audio_filepath": audio, "duration": secs, "speaker": f"s{i % 50}", "split": split}


def cut_of(name: str, audio: str, secs: float, speaker: str, text: str) -> dict[str, object]:
    """A line of lhotse's cuts."""
    recording = {
        "id": name,
        "sources": [{"type": "file", "channels": [0], "source": audio}],
        "sampling_rate": RATE,
        "num_samples": round(secs * RATE),
        "duration": secs,
    }
    supervision = {
        "id": name,
        "recording_id": name,
        "start": 0.0,
        "duration": secs,
        "channel": 0,
        "text": text,
        "speaker": speaker,
    }
    return {
        "id": name,
        "start": 0.0,
        "duration": secs,
        "channel": 0,
        "supervisions": [supervision],
        "recording": recording,
        "type": "MonoCut",
    }


def write_by_pyav(path: Path, wave: Any, container: str, codec: str, rate: int) -> None:
    """Encode a waveform float32 [samples] at `RATE`."""
    import av

    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        context = stream.codec_context
        resampler = av.AudioResampler(
            context.format, "mono", rate, frame_size=context.frame_size or 1024
        )
        frame = av.AudioFrame.from_ndarray(wave[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))


if __name__ == "__main__":
    main()

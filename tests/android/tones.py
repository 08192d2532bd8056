"""Recordings of tones: each word has its pitch, so that a tiny model learns them from samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

from fedvoice.model_export.config import ExportConfig, read_config
from fedvoice.protocol.parameters import Float32Array

PITCHES = {"low": 250.0, "high": 1500.0}
EAR = "tests.android.brought:Ear"


def tone(word: str, secs: float, seed: int, rate: int = 16000) -> Float32Array:
    """A waveform [samples] in +-1."""
    random = np.random.default_rng(seed)
    pitch, count = PITCHES[word] * random.uniform(0.9, 1.1), round(secs * rate)
    wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(count) / rate) + 0.05
    return (wave + 0.01 * random.normal(size=count)).astype(np.float32)


def record_tones(folder: Path, speakers: int = 2, each: int = 10) -> Path:
    """WAV files of 0.1 to 0.25 s and their manifest: of each speaker's utterances the last two are
    to test with."""
    folder.mkdir(parents=True, exist_ok=True)
    lines, random = [], np.random.default_rng(0)
    for number in range(speakers * each):
        speaker, place = divmod(number, each)
        word, secs = tuple(PITCHES)[place % 2], float(random.uniform(0.1, 0.25))
        wave, name = tone(word, secs, number), f"{speaker}-{place}.wav"
        soundfile.write(folder / name, wave, 16000, subtype="PCM_16")
        about = {"audio_filepath": name, "text": word, "speaker": f"s{speaker}"}
        split = "test" if place >= each - 2 else "train"
        lines.append({**about, "duration": len(wave) / 16000, "split": split})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return manifest


def ear_config(manifest: Path) -> ExportConfig:
    """What `fedvoice export --module tests.android.brought:Ear --manifest MANIFEST` reads, with one
    bucket for short."""
    config = read_config(None, manifest, EAR, {})
    return config.model_copy(update={"buckets": config.buckets[-1:]})

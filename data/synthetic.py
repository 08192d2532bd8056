"""The embedded corpus: many synthetic voices, so that a demo needs nothing but the package index.

Voices differ in accent, timbre, pitch and speed, recordings in speed, loudness and background
noise. Synthetic speech is far easier than people's: its word error rates show that training
works, not how good a recogniser is.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fedvoice.data.espeak import Espeak, Voice
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.utterances import Utterance, write_manifest

ACCENTS = (
    "en-us",
    "en",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
VARIANTS = (
    *(f"m{number}" for number in range(1, 9)),
    *(f"f{number}" for number in range(1, 6)),
    "Andy",
    "Annie",
    "Lee",
    "Mario",
    "Michael",
    "Alex",
)
SAMPLE_RATE = 16000


class SyntheticCorpusConfig(BaseModel):
    """Settings of a synthetic corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    voices: int = Field(default=50, ge=1)
    train_utterances: int = Field(default=24, ge=1)
    """Per voice."""
    test_utterances: int = Field(default=6, ge=0)
    words: tuple[str, ...] = (
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "yes",
        "no",
    )
    max_words: int = Field(default=2, ge=1)
    """Words in one utterance at most."""
    noise_db: float = -40.0
    """Mean level of the background noise against the speech."""
    seed: int = 0


def make_voices(count: int, seed: int) -> list[Voice]:
    """`count` distinct voices, the same for the same seed."""
    random = np.random.default_rng(seed)
    pairs = [(accent, variant) for accent in ACCENTS for variant in VARIANTS]
    order = random.permutation(len(pairs))
    voices = []
    for index in range(count):
        accent, variant = pairs[order[index % len(pairs)]]
        voices.append(
            Voice(
                name=f"voice{index:03d}",
                accent=accent,
                variant=variant,
                rate_wpm=int(random.integers(130, 210)),
                pitch=int(random.integers(20, 80)),
                pitch_range=int(random.integers(30, 70)),
            )
        )
    return voices


def build_synthetic_corpus(
    directory: Path,
    config: SyntheticCorpusConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Synthesise the corpus into `directory` (16 kHz FLAC) and return its manifest's path.

    Args:
        progress: called with (voices done, voices in all).
    """
    import soundfile

    espeak = Espeak()
    utterances = []
    for index, voice in enumerate(make_voices(config.voices, config.seed)):
        random = np.random.default_rng([config.seed, index])
        folder = directory / "audio" / voice.name
        folder.mkdir(parents=True, exist_ok=True)
        count = config.train_utterances + config.test_utterances
        for number, text in enumerate(_texts(config.words, count, config.max_words, random)):
            waveform = _record(espeak, voice, text, config.noise_db, random)
            path = folder / f"{number:03d}.flac"
            encoded = io.BytesIO()  # so that a full disk is the system's error, not libsndfile's
            soundfile.write(encoded, waveform, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
            path.write_bytes(encoded.getvalue())
            utterances.append(
                Utterance(
                    audio_path=path,
                    text=text,
                    duration_secs=round(len(waveform) / SAMPLE_RATE, 4),
                    speaker=voice.name,
                    split="train" if number < config.train_utterances else "test",
                    source="espeak-ng",
                )
            )
        progress(index + 1, config.voices)
    manifest = directory / "manifest.jsonl"
    write_manifest(manifest, utterances)
    return manifest


def _texts(
    words: Sequence[str], count: int, max_words: int, random: np.random.Generator
) -> list[str]:
    """`count` texts of 1..max_words words in which every word comes about equally often."""
    lengths = random.integers(1, max_words + 1, size=count)
    needed = int(lengths.sum())
    rounds = -(-needed // len(words))
    deck = [words[i] for _ in range(rounds) for i in random.permutation(len(words))]
    ends = np.cumsum(lengths)
    return [" ".join(deck[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def _record(
    espeak: Espeak, voice: Voice, text: str, noise_db: float, random: np.random.Generator
) -> Float32Array:
    import torch
    from torchaudio.functional import resample

    rate_wpm = int(voice.rate_wpm * random.uniform(0.9, 1.1))
    pitch = int(np.clip(voice.pitch + random.integers(-6, 7), 0, 99))
    take = Voice(voice.name, voice.accent, voice.variant, rate_wpm, pitch, voice.pitch_range)
    spoken = torch.from_numpy(espeak.speak(take, text))
    waveform = resample(spoken, espeak.sample_rate, SAMPLE_RATE).numpy()
    level = float(np.sqrt(np.mean(waveform**2))) + 1e-6
    noise = random.standard_normal(waveform.size).astype(np.float32)
    noise_level = level * 10.0 ** ((noise_db + random.uniform(-6, 6)) / 20.0)
    gain = random.uniform(0.4, 0.9) / max(float(np.abs(waveform).max()), 1e-6)
    mixed: Float32Array = ((waveform + noise_level * noise) * gain).astype(np.float32)
    return np.clip(mixed, -1.0, 1.0)

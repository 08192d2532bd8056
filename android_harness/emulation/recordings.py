"""Recordings in the form that the Android phone reads."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from fedvoice.data.audio import read_sound
from fedvoice.data.containers import wav_header
from fedvoice.protocol.parameters import Float32Array


def for_android(
    path: Path, offset_secs: float | None = None, duration_secs: float | None = None
) -> Path | bytes:
    """The file itself if the phone reads it, or the bytes of a wav file with the samples that
    `data.audio.read_waveform` gives.

    Args:
        offset_secs, duration_secs: a segment of the file; None: the whole file.

    Raises:
        FedvoiceError: `missing-audio`, `unreadable-audio`, `missing-extra`.
    """
    if offset_secs is None and path.is_file():
        header = wav_header(path)
        if header is not None and header.read_by_phones:
            return path
    waveform, rate = read_sound(path, str(path), offset_secs or 0.0, duration_secs)
    return wav_of(waveform, rate)


def wav_of(waveform: Float32Array, rate: int) -> bytes:
    """A wav file of exactly these samples: 16 bits where they hold them, else floats."""
    import soundfile

    steps = waveform * np.float32(32768)
    whole = bool((np.abs(steps) < 32768).all() and (steps == np.round(steps)).all())
    wav = io.BytesIO()
    soundfile.write(
        wav,
        steps.astype(np.int16) if whole else waveform,
        rate,
        format="WAV",
        subtype="PCM_16" if whole else "FLOAT",
    )
    return wav.getvalue()

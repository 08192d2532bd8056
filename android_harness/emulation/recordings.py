"""Recordings in the form that the Android phone reads."""

from __future__ import annotations

import io
from pathlib import Path

_READ_ON_ANDROID = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
_SAME_IN_WAV = {"PCM_S8": "PCM_16", "PCM_16": "PCM_16", "PCM_24": "PCM_24"}


def for_android(path: Path) -> Path | bytes:
    """The file itself if the phone reads it, or the bytes of a wav file with the same samples."""
    import soundfile

    info = soundfile.info(path)
    if info.format == "WAV" and info.subtype in _READ_ON_ANDROID:
        return path
    # Without loss where wav has the same integers; libsndfile's floats of anything else.
    subtype = _SAME_IN_WAV.get(info.subtype, "FLOAT")
    samples, rate = soundfile.read(path, dtype="float32" if subtype == "FLOAT" else "int32")
    wav = io.BytesIO()
    soundfile.write(wav, samples, rate, format="WAV", subtype=subtype)
    return wav.getvalue()

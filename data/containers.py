"""What a file is, by its first bytes: its name says little."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

from fedvoice.data.wav import WavHeader, read_wav_header

_HEADER_BYTES = 64
_MOST_SAMPLES = 1 << 40
_BY_PYAV = {
    b"ID3": "mp3",
    b"\x1aE\xdf\xa3": "matroska",
    b"#!AMR": "amr",
    b"\x30\x26\xb2\x75": "asf",
}


def wav_header(path: Path) -> WavHeader | None:
    """The header of a wav file of a common encoding; None for anything else."""
    with path.open("rb") as file:
        return read_wav_header(file, os.fstat(file.fileno()).st_size)


def first_bytes(audio: Path | bytes) -> tuple[WavHeader | None, bytes]:
    """A common wav header if it is one, and the first bytes behind ID3 tags."""
    if isinstance(audio, bytes):
        return _header_in(io.BytesIO(audio), len(audio))
    with audio.open("rb") as file:
        return _header_in(file, os.fstat(file.fileno()).st_size)


def _header_in(file: BinaryIO, size: int) -> tuple[WavHeader | None, bytes]:
    begin = file.read(_HEADER_BYTES)
    if begin[:4] == b"RIFF":
        file.seek(0)
        return read_wav_header(file, size), begin
    if begin[:3] == b"ID3" and len(begin) > 10:
        length = 0
        for byte in begin[6:10]:
            length = length << 7 | byte & 0x7F
        file.seek(10 + length)
        behind = file.read(_HEADER_BYTES)
        if behind[:4] == b"fLaC":
            return None, behind
    return None, begin


def container_of(begin: bytes) -> str | None:
    """ffmpeg's name of a container that libsndfile does not read, or not exactly."""
    for magic, name in _BY_PYAV.items():
        if begin.startswith(magic):
            return name
    if begin[4:8] == b"ftyp":
        return "mov"
    if len(begin) > 1 and begin[0] == 0xFF and begin[1] & 0xE0 == 0xE0:
        return "aac" if begin[1] & 0x06 == 0 else "mp3"
    return None


def container_by_soundfile(info: Any) -> str | None:
    """ffmpeg's name of a container whose length libsndfile does not know."""
    if info.format == "MP3" or "MPEG" in info.subtype:
        return "wav" if info.format.startswith("WAV") else "mp3"
    return "flac" if info.format == "FLAC" and info.frames > _MOST_SAMPLES else None

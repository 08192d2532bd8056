"""Headers of wav and flac files: what a file holds, not only what its header says.

Wav: Microsoft's RIFF format of 1991 with WAVE_FORMAT_EXTENSIBLE. Flac: RFC 9639, section 8.2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

PCM, FLOAT, ALAW, ULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_SUBTYPES = {
    (PCM, 8): "PCM_U8",
    (PCM, 16): "PCM_16",
    (PCM, 24): "PCM_24",
    (PCM, 32): "PCM_32",
    (FLOAT, 32): "FLOAT",
    (FLOAT, 64): "DOUBLE",
    (ALAW, 8): "ALAW",
    (ULAW, 8): "ULAW",
}
_CHUNKS_BEHIND = (b"LIST", b"fact", b"cue ", b"bext", b"id3 ", b"ID3 ", b"smpl", b"PEAK", b"JUNK")
_MOST_CHUNKS = 1000
_RIFF_BYTES, _CHUNK_HEADER_BYTES = 12, 8


@dataclass(frozen=True)
class WavHeader:
    """A little-endian RIFF file of one of the common encodings."""

    sample_rate: int
    channels: int
    tag: int
    bits: int
    data_at: int
    """Byte of the first sample."""
    data_bytes: int
    """Of samples that are in the file, whatever the header says."""
    stated_bytes: int
    """As the header says."""

    @property
    def samples(self) -> int:
        """Per channel."""
        return self.data_bytes // (self.channels * self.bits // 8)

    @property
    def subtype(self) -> str:
        """libsndfile's name of the encoding."""
        return _SUBTYPES[self.tag, self.bits]

    @property
    def without_length(self) -> bool:
        """Whether the header says that there are no samples, and there are: what a recorder that
        was killed leaves behind."""
        return self.stated_bytes == 0 and self.data_bytes > 0

    @property
    def read_by_phones(self) -> bool:
        """Whether the Kotlin phone reads it, to the same samples."""
        return self.tag in (PCM, FLOAT) and not self.without_length


def read_wav_header(file: BinaryIO, size: int) -> WavHeader | None:
    """The header of a file that begins here; None for what is left to libsndfile: other byte orders
    and encodings, damaged headers.

    Args:
        size: bytes of the whole file.
    """
    begin = file.read(_RIFF_BYTES)
    if begin[:4] != b"RIFF" or begin[8:] != b"WAVE":
        return None
    layout: tuple[int, int, int, int] | None = None
    at = _RIFF_BYTES
    for _ in range(_MOST_CHUNKS):
        header = file.read(_CHUNK_HEADER_BYTES)
        if len(header) < _CHUNK_HEADER_BYTES:
            return None
        name, length = struct.unpack("<4sI", header)
        at += _CHUNK_HEADER_BYTES
        if name == b"data":
            if layout is None:
                return None
            return _header(layout, file, at, length, size - at)
        if name == b"fmt ":
            layout = _layout(file.read(length) if 16 <= length <= 1024 else b"")
            if layout is None:
                return None
        at += length + (length & 1)
        file.seek(at)
    return None


def _layout(chunk: bytes) -> tuple[int, int, int, int] | None:
    """tag, channels, rate, bits; None for an encoding that is not one of the common ones."""
    if len(chunk) < 16:
        return None
    tag, channels, rate, _, block_bytes, bits = struct.unpack("<HHIIHH", chunk[:16])
    if tag == EXTENSIBLE and len(chunk) >= 26:
        (tag,) = struct.unpack("<H", chunk[24:26])
    plain = (tag, bits) in _SUBTYPES and channels > 0 and rate > 0
    return (tag, channels, rate, bits) if plain and block_bytes == channels * bits // 8 else None


def _header(
    layout: tuple[int, int, int, int], file: BinaryIO, at: int, stated: int, left: int
) -> WavHeader:
    tag, channels, rate, bits = layout
    held = min(stated, left)
    if stated == 0 and left > 0 and not _chunk_behind(file.read(_CHUNK_HEADER_BYTES), left):
        held = left
    return WavHeader(rate, channels, tag, bits, at, held, stated)


def _chunk_behind(begin: bytes, left: int) -> bool:
    """Whether what follows empty data is another chunk and not sound."""
    if begin[:4] not in _CHUNKS_BEHIND or len(begin) < _CHUNK_HEADER_BYTES:
        return False
    (length,) = struct.unpack("<I", begin[4:])
    return bool(_CHUNK_HEADER_BYTES + length <= left)


def read_flac_header(begin: bytes) -> tuple[int, int, int] | None:
    """Sample rate, channels and samples (0: unknown, as in a live stream) of a flac file.

    Args:
        begin: at least its first 42 bytes; None is returned for anything else.
    """
    if len(begin) < 42 or begin[:4] != b"fLaC" or begin[4] & 0x7F != 0:
        return None
    packed = int.from_bytes(begin[18:26], "big")
    return packed >> 44, (packed >> 41 & 0x7) + 1, packed & 0xFFFFFFFFF

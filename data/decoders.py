"""Compressed sound through PyAV (extra `corpora`): ffmpeg's lengths, edit lists and encoder delay.

A decoder reads to the end: what a header says of the length is a guess for some formats, and
seeking gives other samples.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import Float32Array

HELD_BYTES = 256 << 20
"""Most bytes of decoded recordings that are kept for their next segment."""
_INTEGERS = {"u8": 128.0, "s16": 32768.0, "s32": 2147483648.0}


def decode(audio: Path | bytes, container: str, where: str) -> tuple[Float32Array, int]:
    """All of a recording: waveform float32 [samples], channels averaged, and its sample rate.

    Args:
        container: ffmpeg's name of it. Nothing is guessed: what looks like a playlist would make
            ffmpeg open other files.

    Raises:
        FedvoiceError: `missing-extra`. Anything else that decoding raises passes.
    """
    parts: list[Any] = []
    rate, name = 0, ""
    with _opened(audio, container, where) as frames:
        for frame in frames:
            if frame.sample_rate != rate:
                if parts:
                    raise ValueError(f"{rate} Hz, then {frame.sample_rate} Hz")
                rate, name = frame.sample_rate, frame.format.name
            parts.append(frame.to_ndarray())
        channels = frame.layout.nb_channels if parts else 1
    if not parts:
        return np.zeros(0, dtype=np.float32), rate
    return _mono(np.concatenate(parts, axis=1), name, channels), rate


def count(audio: Path | bytes, container: str, where: str) -> tuple[int, int, int]:
    """Sample rate, channels and samples of a recording, as `decode` gives them."""
    samples, rate, channels = 0, 0, 1
    with _opened(audio, container, where) as frames:
        for frame in frames:
            samples += frame.samples
            rate, channels = frame.sample_rate, frame.layout.nb_channels
    return rate, channels, samples


@contextmanager
def _opened(audio: Path | bytes, container: str, where: str) -> Iterator[Iterator[Any]]:
    """The frames of the first audio stream."""
    try:
        import av
    except ImportError as error:
        raise FedvoiceError(
            ErrorCode.MISSING_EXTRA,
            where=where,
            got=f"{container} sound and no PyAV",
            wanted="PyAV, which decodes it",
            next_step="Install it: pip install 'fedvoice[audio]'; or convert to flac.",
        ) from error
    source = io.BytesIO(audio) if isinstance(audio, bytes) else str(audio)
    with av.open(source, format=container) as opened:
        if not opened.streams.audio:
            raise ValueError("no sound in the file")
        yield opened.decode(opened.streams.audio[0])


def _mono(samples: Any, name: str, channels: int) -> Float32Array:
    """Averaged channels of samples [channels, n], or interleaved [1, n * channels]."""
    if not name.endswith("p") and channels > 1:
        samples = samples.reshape(-1, channels).T
    scale = _INTEGERS.get(name.removesuffix("p"))
    values = samples.astype(np.float32, copy=False)
    if scale is not None:
        values = (values - (128 if name.startswith("u8") else 0)) / np.float32(scale)
    mixed = values[0] if len(values) == 1 else values.mean(axis=0, dtype=np.float32)
    return np.ascontiguousarray(mixed, dtype=np.float32)


class _HeldRecordings:
    """Recordings decoded last: many segments of one are not many decodings."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[Hashable, tuple[Float32Array, int]] = OrderedDict()

    def get(
        self, path: Path, decoded: Callable[[], tuple[Float32Array, int]]
    ) -> tuple[Float32Array, int]:
        """The waveform of the file as it is now."""
        found = path.stat()
        key = (str(path), found.st_mtime_ns, found.st_size)
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        made = decoded()
        with self._lock:
            self._held[key] = made
            while sum(w.nbytes for w, _ in self._held.values()) > HELD_BYTES:
                self._held.popitem(last=False)
        return made


HELD = _HeldRecordings()

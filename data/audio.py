"""Sound files to waveforms. A faulty file raises an error; nothing is repaired silently."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.task import FeatureSettings


@dataclass(frozen=True)
class AudioFacts:
    """The header of a sound file."""

    sample_rate: int
    samples: int
    """Per channel."""

    @property
    def duration_secs(self) -> float:
        """Length."""
        return self.samples / self.sample_rate


def read_facts(audio: Path | bytes, where: str) -> AudioFacts:
    """Read the header of a wav or flac file, or of such a file's bytes.

    Raises:
        FedvoiceError: `missing-audio`, `unreadable-audio`.
    """
    import soundfile

    with _explained(audio, where):
        info = soundfile.info(_source(audio))
    return AudioFacts(sample_rate=info.samplerate, samples=info.frames)


def read_waveform(audio: Path | bytes, settings: FeatureSettings, where: str) -> Float32Array:
    """A waveform float32 [samples] in +-1; several channels are averaged.

    Raises:
        FedvoiceError: `missing-audio`; `unreadable-audio`, also when it is shorter than one
            feature frame or holds no finite numbers; `wrong-sample-rate`.
    """
    import soundfile

    with _explained(audio, where):
        samples, rate = soundfile.read(_source(audio), dtype="float32", always_2d=True)
    check_rate(rate, settings, where)
    waveform: Float32Array = np.ascontiguousarray(samples.mean(axis=1), dtype=np.float32)
    if waveform.size < settings.fft_size or not np.isfinite(waveform).all():
        raise FedvoiceError(
            ErrorCode.UNREADABLE_AUDIO,
            where=where,
            got=f"{waveform.size} samples"
            + ("" if waveform.size < settings.fft_size else ", some not finite"),
            wanted=f"at least {settings.fft_size} finite samples, one feature frame",
            next_step="Leave the recording out.",
        )
    return waveform


def check_rate(rate: int, settings: FeatureSettings, where: str) -> None:
    """Raise `wrong-sample-rate` unless `rate` is the task's."""
    if rate != settings.sample_rate:
        raise FedvoiceError(
            ErrorCode.WRONG_SAMPLE_RATE,
            where=where,
            got=f"{rate} Hz",
            wanted=f"{settings.sample_rate} Hz",
            next_step=f"Resample it before it is stored: "
            f"sox IN -r {settings.sample_rate} -c 1 OUT, "
            f"or ffmpeg -i IN -ar {settings.sample_rate} -ac 1 OUT.",
        )


def _source(audio: Path | bytes) -> Any:
    return io.BytesIO(audio) if isinstance(audio, bytes) else audio


class _explained:  # noqa: N801 - reads as a statement
    """Turns what soundfile raises into a `FedvoiceError`."""

    def __init__(self, audio: Path | bytes, where: str) -> None:
        self._missing = isinstance(audio, Path) and not audio.is_file()
        self._where = where

    def __enter__(self) -> None:
        if self._missing:
            raise FedvoiceError(
                ErrorCode.MISSING_AUDIO,
                where=self._where,
                got="no such file",
                wanted="a sound file",
                next_step="Put the file back or delete the example.",
            )

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, (RuntimeError, OSError, TypeError)):
            raise FedvoiceError(
                ErrorCode.UNREADABLE_AUDIO,
                where=self._where,
                got=str(error),
                wanted="a wav or flac file",
                next_step="Convert it (sox IN OUT.flac) or leave it out.",
            ) from error

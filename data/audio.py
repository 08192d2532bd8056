"""Sound files to waveforms. A faulty file raises an error; nothing is repaired silently.

soundfile reads what it reads exactly: wav, flac, ogg, aiff and other uncompressed sound. PyAV
decodes mp3, m4a, webm and the flac of a live stream.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedvoice.data import decoders
from fedvoice.data.containers import container_by_soundfile, container_of, first_bytes
from fedvoice.data.wav import WavHeader, read_flac_header
from fedvoice.protocol.errors import ErrorCode, FedvoiceError, missing_extra
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.task import FeatureSettings

LOUDEST = 16.0
"""Samples are within +-1; floats may overshoot a little, but not so much."""


USUAL_RATES = range(8_000, 192_001)
"""Rates at which a phone takes recordings, in Hz."""


@dataclass(frozen=True)
class AudioFacts:
    """What a sound file holds."""

    sample_rate: int
    samples: int
    """Per channel."""
    channels: int = 1

    @property
    def duration_secs(self) -> float:
        """Length."""
        return self.samples / self.sample_rate if self.sample_rate else 0.0


def read_facts(audio: Path | bytes, where: str, *, header_only: bool = False) -> AudioFacts:
    """Rate and exact length of a sound file, or of such a file's bytes: from the header where it
    can be believed, else by decoding to the end.

    Args:
        header_only: do not decode: rate and samples are 0 where only that tells.

    Raises:
        FedvoiceError: `missing-audio`, `unreadable-audio`, `missing-extra`.
    """
    import soundfile

    with _explained(audio, where):
        header, begin = first_bytes(audio)
        if header is not None:
            return AudioFacts(header.sample_rate, header.samples, header.channels)
        flac = read_flac_header(begin)
        if flac is not None and flac[0] and flac[2]:
            return AudioFacts(flac[0], flac[2], flac[1])
        container = container_of(begin)
        if container is None:
            try:
                info = soundfile.info(_source(audio))
            except soundfile.LibsndfileError:
                if not begin.startswith(b"OggS"):
                    raise
                container = "ogg"
            else:
                container = container_by_soundfile(info)
                if container is None:
                    return AudioFacts(info.samplerate, info.frames, info.channels)
        if header_only:
            return AudioFacts(0, 0)
        rate, channels, samples = decoders.count(audio, container, where)
        return AudioFacts(rate, samples, channels)


def read_waveform(
    audio: Path | bytes,
    settings: FeatureSettings,
    where: str,
    *,
    offset_secs: float = 0.0,
    duration_secs: float | None = None,
    resample: bool = False,
) -> Float32Array:
    """A waveform float32 [samples] in +-1; several channels are averaged.

    Args:
        offset_secs, duration_secs: the segment to read; None: to the end.
        resample: bring other rates to the task's (soxr, high quality), instead of refusing them.

    Raises:
        FedvoiceError: `missing-audio`; `unreadable-audio`, also when it is shorter than one
            feature frame, or floats are scaled as integers; `not-finite`; `wrong-sample-rate`;
            `missing-extra`.
    """
    waveform, rate = read_sound(audio, where, offset_secs, duration_secs)
    if resample and rate != settings.sample_rate and rate > 0:
        waveform = resampled(waveform, rate, settings.sample_rate, where)
    else:
        check_rate(rate, settings, where)
    check_waveform(waveform, where)
    if waveform.size < settings.fft_size:
        raise _unreadable(
            where,
            f"{waveform.size} samples",
            f"at least {settings.fft_size} samples, one feature frame",
            "Leave the recording out.",
        )
    return waveform


def read_sound(
    audio: Path | bytes, where: str, offset_secs: float = 0.0, duration_secs: float | None = None
) -> tuple[Float32Array, int]:
    """A waveform float32 [samples], channels averaged, and its sample rate, as the file has them.

    Raises:
        FedvoiceError: `missing-audio`, `unreadable-audio`, `missing-extra`.
    """
    import soundfile

    with _explained(audio, where):
        header, begin = first_bytes(audio)
        container = container_of(begin)
        flac = read_flac_header(begin)
        if flac is not None and not flac[2]:
            container = "flac"
        if container is None:
            if header is not None and header.without_length:
                return _raw(audio, header, where, offset_secs, duration_secs)
            try:
                file = soundfile.SoundFile(_source(audio))
            except soundfile.LibsndfileError:
                if not begin.startswith(b"OggS"):
                    raise
                container = "ogg"
            else:
                with file:
                    container = container_by_soundfile(file)
                    if container is None:
                        return _read(file, where, offset_secs, duration_secs)
        return _decoded(audio, container, where, offset_secs, duration_secs)


def check_waveform(waveform: Float32Array, where: str) -> None:
    """Raise `not-finite`, `silent` or `unreadable-audio` for samples that are no sound."""
    peak = float(np.abs(waveform).max(initial=0.0))
    if not np.isfinite(peak):
        bad = int(np.count_nonzero(~np.isfinite(waveform)))
        raise FedvoiceError(
            ErrorCode.NOT_FINITE,
            where=where,
            got=f"{bad} of {waveform.size} samples not finite (NaN or infinite)",
            wanted="finite samples",
            next_step="Leave the recording out, or write it again.",
        )
    if waveform.size and not peak:
        raise FedvoiceError(
            ErrorCode.SILENT,
            where=where,
            got=f"{waveform.size} samples, every one of them 0",
            wanted="sound",
            next_step="Leave the recording out; a muted microphone records such files.",
        )
    if peak > LOUDEST:
        raise _unreadable(
            where,
            f"float samples up to {peak:.0f}, scaled as integers",
            "samples within +-1",
            "Divide them by 32768, or leave the recording out.",
        )


def check_array(array: Float32Array, where: str) -> None:
    """As `check_waveform` for a waveform [samples] in memory; of features [frames, bins] only
    `not-finite`."""
    if array.ndim == 1 or not np.isfinite(array).all():
        check_waveform(array, where)


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


def resampled(waveform: Float32Array, rate: int, wanted: int, where: str) -> Float32Array:
    """A waveform at another rate, by soxr in its high quality.

    Raises:
        FedvoiceError: `missing-extra`.
    """
    try:
        import soxr
    except ImportError as error:
        raise missing_extra(
            "audio",
            where=where,
            got=f"{rate} Hz to be resampled and no soxr package",
            wanted="soxr",
        ) from error
    found: Float32Array = soxr.resample(waveform, rate, wanted, quality="HQ")
    return found.astype(np.float32, copy=False)


def samples_at(samples: int, rate: int, wanted: int) -> int:
    """How many samples `resampled` makes of `samples`: the same time, rounded."""
    return (2 * samples * wanted + rate) // (2 * rate)


def tolerance_secs(duration_secs: float) -> float:
    """How far a stated length may be from the file's: 2%, at least 0.05 s."""
    return max(0.05, 0.02 * duration_secs)


def _read(
    file: Any, where: str, offset_secs: float, duration_secs: float | None
) -> tuple[Float32Array, int]:
    """A segment by seeking: exact for uncompressed sound, flac, vorbis and opus."""
    begin, end = segment_bounds(file.frames, file.samplerate, where, offset_secs, duration_secs)
    if begin:
        file.seek(begin)
    samples = file.read(end - begin, dtype="float32", always_2d=True)
    if len(samples) < end - begin:
        raise ValueError(f"the sound ends after {begin + len(samples)} of {file.frames} samples")
    return _averaged(samples), file.samplerate


def _raw(
    audio: Path | bytes,
    header: WavHeader,
    where: str,
    offset_secs: float,
    duration_secs: float | None,
) -> tuple[Float32Array, int]:
    """A wav file whose header knows no length."""
    import soundfile

    begin, end = segment_bounds(
        header.samples, header.sample_rate, where, offset_secs, duration_secs
    )
    frame_bytes = header.channels * header.bits // 8
    first, count = header.data_at + begin * frame_bytes, (end - begin) * frame_bytes
    if isinstance(audio, bytes):
        data = audio[first : first + count]
    else:
        with audio.open("rb") as file:
            file.seek(first)
            data = file.read(count)
    samples, rate = soundfile.read(
        io.BytesIO(data),
        dtype="float32",
        always_2d=True,
        format="RAW",
        subtype=header.subtype,
        endian="LITTLE",
        channels=header.channels,
        samplerate=header.sample_rate,
    )
    return _averaged(samples), rate


def _decoded(
    audio: Path | bytes,
    container: str,
    where: str,
    offset_secs: float,
    duration_secs: float | None,
) -> tuple[Float32Array, int]:
    """A segment, cut after decoding from the start."""
    if duration_secs is None and not offset_secs:
        return decoders.decode(audio, container, where)
    if isinstance(audio, bytes):
        waveform, rate = decoders.decode(audio, container, where)
    else:
        waveform, rate = decoders.HELD.get(audio, lambda: decoders.decode(audio, container, where))
    begin, end = segment_bounds(waveform.size, rate, where, offset_secs, duration_secs)
    return waveform[begin:end].copy(), rate


def segment_bounds(
    samples: int, rate: int, where: str, offset_secs: float, duration_secs: float | None
) -> tuple[int, int]:
    """First sample of a segment, and the one behind its last.

    Args:
        samples, rate: of the recording. A segment may end up to `tolerance_secs` behind it: it is
            cut there.

    Raises:
        FedvoiceError: `unreadable-audio` for a segment that is not in the recording.
    """
    begin = round(offset_secs * rate)
    end = samples if duration_secs is None else begin + round(duration_secs * rate)
    room = 0.0 if duration_secs is None else tolerance_secs(duration_secs) * rate
    if begin < 0 or end > samples + room or begin > samples:
        raise _unreadable(
            where,
            f"a segment {begin / rate:.2f} to {end / rate:.2f} s of a recording of "
            f"{samples / rate:.2f} s",
            "a segment within the recording",
            "Correct offset and duration.",
        )
    return begin, min(end, samples)


def _averaged(samples: Float32Array) -> Float32Array:
    mixed = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    return np.ascontiguousarray(mixed, dtype=np.float32)


def _source(audio: Path | bytes) -> Any:
    return io.BytesIO(audio) if isinstance(audio, bytes) else audio


@contextmanager
def _explained(audio: Path | bytes, where: str) -> Iterator[None]:
    """Turns whatever a decoder raises into `unreadable-audio` with its cause."""
    try:
        yield
    except FedvoiceError:
        raise
    except FileNotFoundError as error:
        raise FedvoiceError(
            ErrorCode.MISSING_AUDIO,
            where=where,
            got="no such file",
            wanted="a sound file",
            next_step="Put the file back or delete the example.",
        ) from error
    except Exception as error:
        if isinstance(audio, Path) and not audio.is_file():
            got = "a folder" if audio.is_dir() else f"{error}"
        else:
            got = str(error) or type(error).__name__
        raise _unreadable(
            where,
            got,
            "a wav or flac file, ogg, opus, mp3, m4a or webm",
            "Convert it (sox IN OUT.flac) or leave it out.",
        ) from error


def _unreadable(where: str, got: str, wanted: str, next_step: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.UNREADABLE_AUDIO, where=where, got=got, wanted=wanted, next_step=next_step
    )

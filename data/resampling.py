"""Copies of recordings at another sample rate, for those who ask: `fedvoice data ... --resample`.

Nothing else in fedvoice changes a rate; a task refuses sound of another one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedvoice.data.audio import read_facts, read_sound, resampled
from fedvoice.protocol.errors import ErrorCode, FedvoiceError, make_folder
from fedvoice.protocol.files import replace_file
from fedvoice.protocol.usage import Reason, Usage
from fedvoice.protocol.utterance import Utterance

_FULL_SCALE = 32767 / 32768


def folder_beside(manifest: Path, rate: int) -> Path:
    """Where the copies of a manifest's recordings go: `<manifest's name>-<rate>hz/`."""
    return manifest.absolute().with_name(f"{manifest.stem}-{rate}hz")


def resampled_copies(
    utterances: Iterable[Utterance], rate: int, folder: Path, usage: Usage
) -> list[Utterance]:
    """The utterances with recordings at `rate`: flac of 16 bits, one channel, by soxr (HQ), one
    file an utterance. Whole recordings that have this rate already stay where they are.

    Args:
        folder: receives the copies. usage: counts recordings that cannot be read.

    Raises:
        FedvoiceError: `missing-extra`, `not-writable`, `no-space`.
    """
    from rich.console import Console
    from rich.progress import track

    make_folder(folder)
    listed = list(utterances)
    targets = [folder / _name_of(u, number) for number, u in enumerate(listed)]

    def copied(utterance: Utterance, target: Path) -> Utterance | FedvoiceError:
        try:
            return _copied(utterance, rate, target)
        except FedvoiceError as error:
            if error.code.value not in set(Reason):
                raise
            return error

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        done = track(
            threads.map(copied, listed, targets),
            description=f"resample to {rate} Hz",
            total=len(listed),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        found = []
        for copy in done:
            if isinstance(copy, FedvoiceError):
                usage.leave_out(copy.code.value, copy.where)
            else:
                found.append(copy)
    return found


def _copied(utterance: Utterance, rate: int, target: Path) -> Utterance:
    import soundfile

    path, where = utterance.audio_path, utterance.where
    if (
        utterance.offset_secs is None
        and read_facts(path, where, header_only=True).sample_rate == rate
    ):
        return utterance
    waveform, own = read_sound(path, where, utterance.offset_secs or 0.0, utterance.segment_secs)
    if not waveform.size or not np.isfinite(waveform).all():
        raise FedvoiceError(
            ErrorCode.NOT_FINITE if waveform.size else ErrorCode.UNREADABLE_AUDIO,
            where=where,
            got="samples that are not finite" if waveform.size else "no samples",
            wanted="sound",
            next_step="Leave the recording out.",
        )
    if own != rate:
        waveform = resampled(waveform, own, rate, where)
    # Resampling overshoots where a recording is at full scale.
    samples = np.clip(waveform, -1.0, _FULL_SCALE)
    replace_file(
        target,
        lambda aside: soundfile.write(aside, samples, rate, format="FLAC", subtype="PCM_16"),
    )
    return replace(
        utterance,
        audio_path=target,
        duration_secs=round(samples.size / rate, 4),
        offset_secs=None,
    )


def _name_of(utterance: Utterance, number: int) -> str:
    """Recordings of one name may stand in several folders: the number tells them apart."""
    return f"{number:07d}-{utterance.audio_path.stem[:80]}.flac"

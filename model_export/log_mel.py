"""Log-mel by torchaudio: the reference of a program's `features`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from fedvoice.protocol.errors import missing_extra
from fedvoice.protocol.task import FeatureSettings


def of_torchaudio(module: str, name: str) -> Any:
    """What torchaudio's module calls `name`, loaded now.

    Raises:
        FedvoiceError: `missing-extra` without torchaudio, or with one of another torch.
    """
    try:
        return getattr(import_module(f"torchaudio.{module}"), name)
    except (ImportError, OSError) as error:
        raise missing_extra(
            "fast",
            where=f"torchaudio.{module}.{name}",
            got=str(error),
            wanted="a torchaudio that belongs to the installed torch",
        ) from error


def reference_features(waveform: Tensor, settings: FeatureSettings) -> Tensor:
    """torchaudio's log-mel: waveform [1, N], float32 or float64 -> [1, frames, mel_bins], alike.

    Raises:
        FedvoiceError: `missing-extra` without torchaudio.
    """
    spectrogram = of_torchaudio("transforms", "MelSpectrogram")(
        settings.sample_rate,
        n_fft=settings.fft_size,
        win_length=settings.window_samples,
        hop_length=settings.hop_samples,
        n_mels=settings.mel_bins,
        center=False,
    ).to(waveform.dtype)
    log_mel: Tensor = torch.log(spectrogram(waveform) + settings.log_floor).transpose(1, 2)
    return log_mel

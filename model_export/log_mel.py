"""Log-mel by torchaudio: the reference of a program's `features`."""

from __future__ import annotations

import torch
from torch import Tensor

from fedvoice.protocol.task import FeatureSettings


def reference_features(waveform: Tensor, settings: FeatureSettings) -> Tensor:
    """torchaudio's log-mel: waveform [1, N] -> [1, frames, mel_bins]."""
    from torchaudio.transforms import MelSpectrogram

    spectrogram = MelSpectrogram(
        settings.sample_rate,
        n_fft=settings.fft_size,
        win_length=settings.window_samples,
        hop_length=settings.hop_samples,
        n_mels=settings.mel_bins,
        center=False,
    )
    log_mel: Tensor = torch.log(spectrogram(waveform) + settings.log_floor).transpose(1, 2)
    return log_mel

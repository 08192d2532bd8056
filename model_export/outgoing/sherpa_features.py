"""A task's features out of those that sherpa-onnx computes, as far as they say the same.

sherpa-onnx 2.0.1 gives a NeMo model with `is_giga_am` 64 log-mel bins a frame: Hann windows of
25 ms every 10 ms, centred (so that a second has 100 frames), FFT of 512, mel triangles of the HTK
scale, preemphasis of 0.97 before it (measured; its source says 0 for such models). fedvoice's
windows are the same, but begin 176 samples later, which is the next frame up to 16 samples; its mel
bins are others, without preemphasis. So energies are weighed into our bins, and the frames that we
do not have are left out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fedvoice.model_export.log_mel import of_torchaudio
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.task import FeatureSettings

BINS = 64
SAMPLE_RATE, FFT_SIZE, WINDOW_SAMPLES, HOP_SAMPLES = 16000, 512, 400, 160
PREEMPHASIS = 0.97
FRAMES_BEFORE, FRAMES_MORE = 1, 3
"""Frames before our first one; how many more they are in most recordings (in some by 2)."""
LEAST_DEVIATION = 1e-2
"""As in `protocol.engine.normalise_features`."""


class SherpaFeatures(nn.Module):
    """forward(theirs float32 [B, 64, T], counts int64 [B]) -> stacked normalised features
    [B, T', I] as the task has them, and their counts int64 [B], at least 1.

    Raises:
        FedvoiceError: `bad-config` for a front end of other windows.
    """

    weights: Tensor

    def __init__(self, settings: FeatureSettings) -> None:
        super().__init__()
        check_front_end(settings)
        self.stack, self.floor = settings.stack, settings.log_floor
        self.register_buffer("weights", torch.from_numpy(energy_weights(settings.mel_bins)))

    def forward(self, theirs: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        energies = torch.exp(theirs.transpose(1, 2)) @ self.weights.t()
        # Room for one whole stack after the last frame, so that short recordings have one.
        log_mel = torch.log(energies + self.floor)[:, FRAMES_BEFORE:]
        log_mel = nn.functional.pad(log_mel, (0, 0, 0, FRAMES_BEFORE + self.stack))
        rows, frames, bins = log_mel.shape
        own = (counts - FRAMES_MORE).clamp(min=1)
        inside = (torch.arange(frames)[None, :] < own[:, None]).to(log_mel.dtype)[:, :, None]
        many = own.to(log_mel.dtype)[:, None, None]
        centred = (log_mel - (log_mel * inside).sum(1, keepdim=True) / many) * inside
        variance = (centred * centred).sum((1, 2), keepdim=True) / (many * bins)
        scaled = centred / variance.sqrt().clamp(min=LEAST_DEVIATION)
        whole = frames // self.stack
        stacked = scaled[:, : whole * self.stack].reshape(rows, whole, self.stack * bins)
        return stacked, (own + self.stack - 1) // self.stack


def energy_weights(mel_bins: int) -> Float32Array:
    """Weights [mel_bins, 64] that make our energies of theirs.

    One of our triangles is about the sum of theirs, each times what ours is at its centre. Each of
    theirs is divided by what preemphasis leaves of its energy, and each of ours has the energy of a
    flat spectrum.
    """
    ours = of_torchaudio("functional", "melscale_fbanks")(
        FFT_SIZE // 2 + 1, 0.0, SAMPLE_RATE / 2, mel_bins, SAMPLE_RATE
    )
    ours = ours.double().numpy().T
    hertz, theirs, emphasis = their_bins()
    left = (theirs * emphasis).sum(1) / theirs.sum(1)
    edges = np.linspace(0.0, _mel(np.array(SAMPLE_RATE / 2)), BINS + 2)
    centres = 700.0 * np.expm1(edges[1:-1] / 1127.0)
    weights = np.array([np.interp(centres, hertz, triangle) for triangle in ours])
    flat = (weights * theirs.sum(1)).sum(1)
    scale = ours.sum(1) / np.where(flat > 0, flat, np.inf)
    found: Float32Array = (weights * scale[:, None] / left).astype(np.float32)
    return found


def their_bins() -> tuple[npt.NDArray[np.float64], ...]:
    """Frequencies [257] in Hz, sherpa-onnx's triangles [64, 257], and what preemphasis leaves of a
    frequency's energy [257]."""
    hertz = np.arange(FFT_SIZE // 2 + 1) * SAMPLE_RATE / FFT_SIZE
    edges = np.linspace(0.0, _mel(np.array(SAMPLE_RATE / 2)), BINS + 2)
    mels = _mel(hertz)
    rising = (mels - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - mels) / (edges[2:] - edges[1:-1])[:, None]
    theirs = np.maximum(0.0, np.minimum(rising, falling))
    theirs[:, -1] = 0.0  # they leave out the highest frequency
    emphasis = np.abs(1 - PREEMPHASIS * np.exp(-2j * np.pi * hertz / SAMPLE_RATE)) ** 2
    return hertz, theirs, emphasis


def check_front_end(settings: FeatureSettings) -> None:
    """Raise `bad-config` for windows that sherpa-onnx does not compute."""
    fixed = {
        "sample_rate": SAMPLE_RATE,
        "fft_size": FFT_SIZE,
        "window_samples": WINDOW_SAMPLES,
        "hop_samples": HOP_SAMPLES,
    }
    other = [f"{n} = {getattr(settings, n)}" for n, v in fixed.items() if getattr(settings, n) != v]
    if other:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="release, format sherpa",
            got=f"features with {', '.join(other)}",
            wanted=", ".join(f"{name} = {value}" for name, value in fixed.items()),
            next_step="sherpa-onnx computes no others: release it as onnx or executorch.",
        )


def _mel(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    mels: npt.NDArray[np.float64] = 1127.0 * np.log1p(hertz / 700.0)
    return mels

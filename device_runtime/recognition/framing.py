"""Samples to blocks of whole chunks, however they come.

Frame i of an utterance reads the samples from i * hop on, so a block of F frames needs
F * hop + fft - hop samples, and the next one begins F * hop samples later. Blocks depend on the
samples alone: features of them equal those of the whole utterance, frame by frame.
"""

from __future__ import annotations

import numpy as np

from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.task import FeatureSettings


def block_samples(settings: FeatureSettings, frames: int) -> int:
    """Samples of a block of `frames` feature frames."""
    return frames * settings.hop_samples + settings.fft_size - settings.hop_samples


def cut_blocks(
    pending: Float32Array, samples: Float32Array, settings: FeatureSettings, frames: int
) -> tuple[list[Float32Array], Float32Array]:
    """Whole blocks of `frames` feature frames, and the samples that the next one begins with.

    Args:
        pending: what the call before left over; empty at the start.
        samples: float32 [N] in +-1, any number of them.
    """
    held = np.concatenate([pending, samples]).astype(np.float32, copy=False)
    size, step = block_samples(settings, frames), frames * settings.hop_samples
    count = max(0, (len(held) - size) // step + 1)
    blocks = [held[i * step : i * step + size] for i in range(count)]
    return blocks, held[count * step :].copy()

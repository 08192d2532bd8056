"""SpecAugment: masks over time and frequency (Park et al. 2019, section 2; no time warping)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.plan import SpecAugment, TrainingPlan
from fedvoice.protocol.random import Purpose, Stream

MaskWords = npt.NDArray[np.uint32]


def draw_mask_words(
    plan: TrainingPlan, examples: int, *, client_id: str, round_number: int
) -> MaskWords:
    """Random words uint32 [epochs, examples, masks, 2] for all masks of a round.

    Drawn at once from the SPEC_AUGMENT stream, so that a mask depends on (epoch, example) only,
    not on the order of the batches. Time masks come before frequency masks.
    """
    policy = plan.spec_augment
    shape = (plan.local_epochs, examples, policy.time_masks + policy.frequency_masks, 2)
    if 0 in shape:
        return np.zeros(shape, dtype=np.uint32)
    stream = Stream(plan.seed, client_id, round_number, Purpose.SPEC_AUGMENT)
    return stream.words(int(np.prod(shape))).reshape(shape)


def apply_masks(features: Float32Array, policy: SpecAugment, words: MaskWords) -> Float32Array:
    """A copy of normalised features [frames, mel_bins] with masked stretches set to 0, the mean.

    A mask is w wide, w uniform in 0..limit, and starts uniformly where it fits.

    Args:
        words: uint32 [masks, 2], one row a mask: for its width and for its start.
    """
    if len(words) == 0:
        return features
    masked = features.copy()
    frames, bins = features.shape
    for i, pair in enumerate(words):
        if i < policy.time_masks:
            start, stop = _stretch(pair, min(policy.time_mask_frames, frames), frames)
            masked[start:stop] = 0.0
        else:
            start, stop = _stretch(pair, min(policy.frequency_mask_bins, bins), bins)
            masked[:, start:stop] = 0.0
    return masked


def _stretch(pair: MaskWords, limit: int, length: int) -> tuple[int, int]:
    width = (int(pair[0]) * (limit + 1)) >> 32
    start = (int(pair[1]) * (length - width + 1)) >> 32
    return start, start + width

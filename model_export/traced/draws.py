"""What the host draws for a step: D numbers in [0, 1), of which the program makes masks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from fedvoice.model_export.traced.forms.basic import positive
from fedvoice.model_export.traced.rewriting import Drawn


def count_draws(drawn: Sequence[Drawn]) -> int:
    """D: how many numbers these take."""
    return sum(math.prod(draw.shape) for draw in drawn)


def split_draws(drawn: Sequence[Drawn], uniforms: Tensor) -> list[Tensor]:
    """uniforms [D] -> a tensor for each draw: itself, or a mask of dropout.

    A mask is 0 with probability p, else 1 / (1 - p), which keeps the mean (Srivastava et al. 2014,
    in the inverted form).
    """
    found, start = [], 0
    for draw in drawn:
        size = math.prod(draw.shape)
        own = uniforms[start : start + size].reshape(draw.shape)
        start += size
        found.append(own if draw.kind == "uniform" else positive(own - draw.p) / (1 - draw.p))
    return found

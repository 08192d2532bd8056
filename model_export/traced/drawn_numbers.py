"""Random numbers that Python reads: a program can keep none of them.

Read by `item()`, a draw is a `DrawnNumber`, which answers comparisons that every draw answers
alike. Whatever else Python reads (`if torch.rand([]) < p`) is read again for other draws, and
refused where it depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from fedvoice.model_export.traced.draws import count_draws, split_draws
from fedvoice.model_export.traced.rewriting import Drawn

NEAR_0, NEAR_1 = 2.0**-24, 1 - 2.0**-24
"""The smallest draw above 0, and the largest below 1."""
BETWEEN = 3
"""Runs with mixed draws."""


class DrawnNumber:
    """A number in (0, 1) that no one knows: 0 itself, one draw of 2^24, is left out.

    Args:
        refuse: called at every use whose result depends on the number.
    """

    def __init__(self, refuse: Callable[[], NoReturn]) -> None:
        self._refuse = refuse

    def _lies_below(self, other: Any) -> bool:
        if not isinstance(other, int | float) or 0 < other < 1:
            self._refuse()
        return other >= 1

    def __lt__(self, other: Any) -> bool:
        return self._lies_below(other)

    def __le__(self, other: Any) -> bool:
        return self._lies_below(other)

    def __gt__(self, other: Any) -> bool:
        return not self._lies_below(other)

    def __ge__(self, other: Any) -> bool:
        return not self._lies_below(other)

    def _used(self, *_: Any) -> NoReturn:
        self._refuse()

    __hash__ = None  # type: ignore[assignment]
    __eq__ = __ne__ = __bool__ = __float__ = __int__ = __index__ = __round__ = _used
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = _used
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __pow__ = _used


def other_draws(drawn: Sequence[Drawn]) -> Iterator[list[Tensor]]:
    """What else the host might draw; masks of dropout keep all."""
    generator, size = torch.Generator().manual_seed(0), count_draws(drawn)
    mixed = [torch.rand(size, generator=generator) for _ in range(BETWEEN)]
    for uniforms in (torch.full((size,), NEAR_0), torch.full((size,), NEAR_1), *mixed):
        yield [
            torch.ones(draw.shape) if draw.kind == "dropout" else mask
            for draw, mask in zip(drawn, split_draws(drawn, uniforms), strict=True)
        ]

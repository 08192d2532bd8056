"""Randomness: drawn by the host, never by the runtime, so that a step can be repeated.

The runtime's own dropout forgets to scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fedvoice.model_export.traced.rewrites.refusals import refuse
from fedvoice.model_export.traced.rewriting import Rewriting, replaces


def dropped(mode: Rewriting, x: Tensor, p: float, shape: Sequence[int] | None = None) -> Tensor:
    """x times a mask of its own shape or another, scaled by the host."""
    return x * mode.draw("dropout", x.shape if shape is None else shape, p)


def _channels(x: Tensor) -> list[int]:
    """One for each channel of x [B, C, ...]."""
    return [*x.shape[:2], *[1] * (x.dim() - 2)]


@replaces(torch.dropout)
def dropout(mode: Rewriting, x: Tensor, p: float = 0.5, train: bool = True) -> Any:
    """Times a mask; nothing outside training, as everywhere here."""
    return dropped(mode, x, p) if train and p > 0 else NotImplemented


@replaces(torch.dropout_, name="dropout")
def dropout_in_place(mode: Rewriting, x: Tensor, p: float = 0.5, train: bool = True) -> Any:
    """As out of place."""
    return mode.write(x, dropped(mode, x, p)) if train and p > 0 else NotImplemented


@replaces(torch.feature_dropout, name="dropout")
def feature_dropout(mode: Rewriting, x: Tensor, p: float = 0.5, train: bool = True) -> Any:
    """x [B, C, ...]: one draw a channel."""
    return dropped(mode, x, p, _channels(x)) if train and p > 0 else NotImplemented


@replaces(torch.feature_dropout_, name="dropout")
def feature_dropout_in_place(mode: Rewriting, x: Tensor, p: float = 0.5, train: bool = True) -> Any:
    """As out of place."""
    if not train or not p:
        return NotImplemented
    return mode.write(x, dropped(mode, x, p, _channels(x)))


@replaces(
    torch.alpha_dropout,
    torch.alpha_dropout_,
    torch.feature_alpha_dropout,
    torch.feature_alpha_dropout_,
)
def alpha_dropout(mode: Rewriting, x: Tensor, p: float = 0.5, train: bool = True) -> Any:
    """Refused in training."""
    return refuse(mode, "alpha_dropout") if train and p > 0 else NotImplemented


def _sizes(mode: Rewriting, size: Sequence[Any]) -> list[int]:
    """Of `rand(2, 3)` and `rand((2, 3))`, numbers or tensors of one."""
    given = size[0] if len(size) == 1 and isinstance(size[0], Sequence) else size
    return [mode.number(n.item) if isinstance(n, Tensor) else int(n) for n in given]


@replaces(torch.rand)
def rand(mode: Rewriting, *size: Any, **options: Any) -> Tensor:
    """Uniform in [0, 1)."""
    drawn = mode.draw("uniform", _sizes(mode, size or options["size"]))
    return drawn.to(options.get("dtype") or drawn.dtype)


@replaces(torch.rand_like, name="rand")
def rand_like(mode: Rewriting, x: Tensor, **options: Any) -> Tensor:
    """Uniform in [0, 1)."""
    return mode.draw("uniform", x.shape).to(options.get("dtype") or x.dtype)


@replaces(Tensor.uniform_, name="rand")
def uniform_in_place(
    mode: Rewriting, x: Tensor, low: float = 0.0, high: float = 1.0, **options: Any
) -> Tensor:
    """Uniform in [low, high)."""
    return mode.write(x, (mode.draw("uniform", x.shape) * (high - low) + low).to(x.dtype))


@replaces(torch.randint)
def randint(mode: Rewriting, *arguments: Any, **options: Any) -> Tensor:
    """`randint(high, size)` or `randint(low, high, size)`: a uniform draw cut to whole numbers."""
    *bounds, size = arguments if "size" not in options else (*arguments, options["size"])
    low, high = _sizes(mode, [[0, *bounds][-2:]])
    drawn = mode.draw("uniform", _sizes(mode, size)) * (high - low)
    # A float just below 1 times `high - low` may round to it.
    whole = torch.clamp(torch.floor(drawn), max=high - low - 1) + low
    return whole.to(options.get("dtype") or torch.int64)


@replaces(torch.bernoulli, Tensor.bernoulli)
def bernoulli(mode: Rewriting, x: Tensor, p: float | None = None, **options: Any) -> Tensor:
    """1 with probability x (or p): where a uniform draw is below it."""
    return (mode.draw("uniform", x.shape) < (x if p is None else p)).to(x.dtype)


@replaces(Tensor.bernoulli_, name="bernoulli")
def bernoulli_in_place(
    mode: Rewriting, x: Tensor, p: float | Tensor = 0.5, **options: Any
) -> Tensor:
    """1 with probability p."""
    return mode.write(x, (mode.draw("uniform", x.shape) < p).to(x.dtype))

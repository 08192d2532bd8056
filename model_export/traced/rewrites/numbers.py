"""Numbers that Python reads from tensors become part of the program: they are noted, not judged."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from fedvoice.model_export.traced.drawn_numbers import DrawnNumber
from fedvoice.model_export.traced.rewriting import Rewriting, replaces


def _read(function: Callable[..., Any], mode: Rewriting, *args: Any, **kwargs: Any) -> Any:
    if function is Tensor.item and args[0] in mode.uniform:
        return DrawnNumber(mode.refuse_drawn)
    return mode.number(partial(function, *args, **kwargs))


for _reader in (
    Tensor.item,
    Tensor.tolist,
    Tensor.__int__,
    Tensor.__bool__,
    Tensor.__float__,
    Tensor.__index__,
    Tensor.__contains__,
    Tensor.is_nonzero,
    torch.is_nonzero,
    Tensor.equal,
    torch.equal,
    Tensor.allclose,
    torch.allclose,
):
    replaces(_reader, name="number")(partial(_read, _reader))


def _is_number(x: Tensor) -> bool:
    return x.numel() == 1 and not x.is_floating_point() and x.dim() <= 1


def _sized(
    function: Callable[..., Any], own: int, mode: Rewriting, *args: Any, **kwargs: Any
) -> Any:
    """A function whose sizes may be tensors: read by C, where no mode would see it.

    Args:
        own: how many of the arguments come first and are no sizes.
    """
    found = [0]

    def number(x: Tensor) -> Any:
        if not _is_number(x):
            return x
        found[0] += 1
        return mode.number(partial(Tensor.item, x))

    sizes, options = tree_map_only(Tensor, number, (args[own:], kwargs))
    return function(*args[:own], *sizes, **options) if found[0] else NotImplemented


for _maker in (torch.arange, torch.zeros, torch.ones, torch.empty, torch.full):
    replaces(_maker, name="size")(partial(_sized, _maker, 0))
for _method in (
    Tensor.view,
    Tensor.reshape,
    Tensor.expand,
    Tensor.repeat,
    Tensor.narrow,
    Tensor.new_zeros,
    Tensor.new_ones,
    Tensor.new_full,
    torch.reshape,
    torch.narrow,
):
    replaces(_method, name="size")(partial(_sized, _method, 1))

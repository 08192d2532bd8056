"""Indexing by tensors: bounds are numbers, masks are fills, shapes from data are refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fedvoice.model_export.traced.rewrites.picking import filled
from fedvoice.model_export.traced.rewrites.refusals import refuse
from fedvoice.model_export.traced.rewriting import Rewriting, replaces


def _is_mask(part: object) -> bool:
    return isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8)


def _parts(mode: Rewriting, key: Any) -> tuple[tuple[Any, ...], bool]:
    """The parts of a key with numbers for bounds of slices, and whether there were any."""
    changed = False

    def bound(value: Any) -> Any:
        nonlocal changed
        if isinstance(value, Tensor):
            changed = True
            return mode.number(value.item)
        return value

    def settled(part: Any) -> Any:
        if isinstance(part, slice):
            return slice(bound(part.start), bound(part.stop), bound(part.step))
        return part

    return tuple(settled(part) for part in (key if isinstance(key, tuple) else (key,))), changed


@replaces(Tensor.__getitem__, name="indexing")
def get(mode: Rewriting, x: Tensor, key: Any) -> Any:
    """Row counts of a packed sequence are known; other keys as they are but for their bounds."""
    if x in mode.stands_for and key == 0:
        return mode.stands_for[x][0].shape[0]
    parts, changed = _parts(mode, key)
    if any(_is_mask(part) for part in parts):
        refuse(mode, "indexing", "indexing by a mask")
    return x[parts] if changed else NotImplemented


@replaces(Tensor.__setitem__, name="indexing")
def put(mode: Rewriting, x: Tensor, key: Any, value: Any) -> Any:
    """A number put by a mask is a fill."""
    parts, changed = _parts(mode, key)
    if any(_is_mask(part) for part in parts):
        if len(parts) > 1 or (isinstance(value, Tensor) and value.dim()):
            refuse(mode, "indexing", "tensors put by a mask")
        mask = parts[0].to(torch.bool)
        mask = mask.reshape(*mask.shape, *[1] * (x.dim() - mask.dim()))
        mode.write(x, filled(mode, x, mask, value))
        return None
    if not changed:
        return NotImplemented
    x[parts] = value
    return None


def _shaped_by_data(fixed: Callable[..., bool], mode: Rewriting, *args: Any, **kwargs: Any) -> Any:
    if fixed(*args, **kwargs):
        return NotImplemented
    return refuse(mode, "nonzero")


def _never(*args: Any, **kwargs: Any) -> bool:
    return False


def _chooses(*args: Any, **kwargs: Any) -> bool:
    """Whether `where` has values to choose from."""
    return len(args) + len(kwargs) > 1


def _by_number(*args: Any, **kwargs: Any) -> bool:
    """Whether a repetition is the same for all."""
    repeats = kwargs.get("repeats", args[1] if len(args) > 1 else args[0])
    return not isinstance(repeats, Tensor) or "output_size" in kwargs


for _function, _fixed in (
    (torch.nonzero, _never),
    (Tensor.nonzero, _never),
    (torch.argwhere, _never),
    (Tensor.argwhere, _never),
    (torch.unique, _never),
    (Tensor.unique, _never),
    (torch.unique_consecutive, _never),
    (Tensor.unique_consecutive, _never),
    (torch.where, _chooses),
    (torch.repeat_interleave, _by_number),
    (Tensor.repeat_interleave, _by_number),
):
    replaces(_function, name="nonzero")(partial(_shaped_by_data, _fixed))

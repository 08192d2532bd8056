"""Layers and directions of recurrent stacks, over whatever runs one direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedvoice.model_export.traced.forms import basic
from fedvoice.model_export.traced.rewrites.draws import dropped
from fedvoice.model_export.traced.rewrites.refusals import refuse
from fedvoice.model_export.traced.rewriting import Rewriting

Cell = Callable[..., tuple[Tensor, ...]]
"""(x [T, B, I], states [B, H] each, weights...) -> hidden [T, B, H], last states [B, H]."""


@dataclass(frozen=True)
class Settings:
    """Of a stack of recurrent layers, as torch passes them."""

    bias: bool
    layers: int
    dropout: float
    training: bool
    both_ways: bool

    @property
    def ways(self) -> int:
        """Directions of a layer."""
        return 2 if self.both_ways else 1


Direction = Callable[[Tensor, list[Tensor], list[Tensor], bool], tuple[Tensor, ...]]
"""(x [T, B, I], states, weights, backwards) -> hidden [T, B, H] in order, last states."""


def stacked(
    mode: Rewriting,
    direction: Direction,
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    settings: Settings,
) -> tuple[Tensor, ...]:
    """All layers over x [T, B, I]; states [layers * ways, B, H] each, as are those given back."""
    per_way = len(weights) // (settings.layers * settings.ways)
    wanted = 4 if settings.bias else 2
    if per_way != wanted:
        refuse(mode, "recurrent", "an LSTM with projections (proj_size)")
    last: list[tuple[Tensor, ...]] = []
    for layer in range(settings.layers):
        found = []
        for way in range(settings.ways):
            k = layer * settings.ways + way
            own = list(weights[k * per_way : (k + 1) * per_way])
            if not settings.bias:
                own += [x.new_zeros(own[0].shape[0])] * 2
            hidden, *ends = direction(x, [s[k] for s in states], own, way == 1)
            found.append(hidden)
            last.append(tuple(ends))
        x = torch.cat(found, 2) if settings.both_ways else found[0]
        if settings.dropout and settings.training and layer + 1 < settings.layers:
            x = dropped(mode, x, settings.dropout)
    return x, *(torch.stack(parts) for parts in zip(*last, strict=True))


def whole(cell: Cell) -> Direction:
    """A direction over rows that are all as long as x."""

    def run(
        x: Tensor, states: list[Tensor], weights: list[Tensor], backwards: bool
    ) -> tuple[Tensor, ...]:
        hidden, *last = cell(basic.flip(x) if backwards else x, states, weights)
        return basic.flip(hidden) if backwards else hidden, *last

    return run

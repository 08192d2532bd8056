"""Losses of many clients' batches at once, each client with its own weights.

The computation of a model's `nll` with a leading axis K for the clients: matrix products become
batched ones, so that K clients share the overhead of each operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.models.batched_layers import Weight, affine, lstm_layer

Parameters = Mapping[str, Weight]
"""By name."""
Losses = Callable[[Parameters, TensorBatch], Tensor]
"""(parameters, batch [K, B, ...]) -> nll [K, B]."""


def linear(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """[K, N, I] -> [K, N, O] by `name`.weight and, where there is one, `name`.bias."""
    return affine(x, parameters[f"{name}.weight"], parameters.get(f"{name}.bias"))


def lstm(parameters: Parameters, prefix: str, suffix: str, x: Tensor) -> Tensor:
    """One layer and direction: [K, B, T, I] -> [K, B, T, H]."""
    names = ("weight_ih", "weight_hh", "bias_ih")
    return lstm_layer(x, *(parameters[f"{prefix}.{name}_{suffix}"] for name in names))


def encode(
    parameters: Parameters, layers: int, bidirectional: bool, x: Tensor, x_lens: Tensor
) -> Tensor:
    """Stacked (bi)LSTM: x [K, B, T, I] of x_lens [K, B] frames -> [K, B, T, D*H].

    Backwards in time a row starts at its own last frame, as a packed sequence does.
    """
    turn = _turned_places(x_lens, x.shape[2]) if bidirectional else None
    for layer in range(layers):
        ahead = lstm(parameters, "encoder", f"l{layer}", x)
        if turn is None:
            x = ahead
            continue
        back = lstm(parameters, "encoder", f"l{layer}_reverse", _take(x, turn))
        x = torch.cat([ahead, _take(back, turn)], 3)
    return x


def _turned_places(x_lens: Tensor, frames: int) -> Tensor:
    """[K, B, T]: index of every frame when each row's first x_lens frames are reversed."""
    places = torch.arange(frames).expand(*x_lens.shape, frames)
    turned = x_lens[..., None] - 1 - places
    return torch.where(turned >= 0, turned, places)


def _take(x: Tensor, places: Tensor) -> Tensor:
    return x.gather(2, places[..., None].expand(-1, -1, -1, x.shape[3]))

"""Losses of many clients' batches at once: every client has its own weights, all one form.

What `model_export.models` computes for one model, with a leading axis K for the clients: matrix
products become batched ones, so that the cost of calling an operation is shared by K clients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fedvoice.model_export.models.config import (
    CtcConfig,
    ModelConfig,
    RnntConfig,
)
from fedvoice.model_export.models.labeller import frame_nll
from fedvoice.model_export.models.loss import rnnt_nll
from fedvoice.protocol.vocabulary import BLANK
from fedvoice.simulation.fast.layers import (
    Weight,
    affine,
    lstm_layer,
)

Parameters = Mapping[str, Weight]
"""By name."""
Losses = Callable[[Parameters, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(parameters, x [K, B, T, I], y [K, B, U], x_lens [K, B], y_lens [K, B]) -> nll [K, B]."""


def many_losses(config: ModelConfig) -> Losses | None:
    """The loss of a model for many clients, or None for kinds that gain nothing by it."""
    if isinstance(config, RnntConfig):
        return _rnnt(config)
    if isinstance(config, CtcConfig):
        return _ctc(config)
    return _two_layer if config.kind == "2nn" else None


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
    """[K, B, T]: for every frame its place when the row's first x_lens frames are turned round."""
    places = torch.arange(frames).expand(*x_lens.shape, frames)
    turned = x_lens[..., None] - 1 - places
    return torch.where(turned >= 0, turned, places)


def _take(x: Tensor, places: Tensor) -> Tensor:
    return x.gather(2, places[..., None].expand(-1, -1, -1, x.shape[3]))


def _rnnt(config: RnntConfig) -> Losses:
    def losses(p: Parameters, x: Tensor, y: Tensor, x_lens: Tensor, y_lens: Tensor) -> Tensor:
        clients, batch, frames, _ = x.shape
        encoder = config.encoder
        encoded = encode(p, encoder.layers, encoder.bidirectional, x, x_lens)
        history = nn.functional.pad(y, (1, 0))
        # A product instead of an index: its gradient is a product, too.
        vocabulary = p["output.weight"].value.shape[1]
        tokens = nn.functional.one_hot(history, vocabulary).to(x.dtype)
        embedded = affine(tokens.flatten(1, 2), p["embedding.weight"].turned)
        embedded = embedded.view(clients, batch, history.shape[2], -1)
        predicted = lstm(p, "predictor", "l0", embedded)
        left = linear(p, "joint_encoder", encoded.flatten(1, 2)).view(clients, batch, frames, 1, -1)
        right = linear(p, "joint_predictor", predicted.flatten(1, 2))
        joined = torch.tanh(left + right.view(clients, batch, 1, history.shape[2], -1))
        logits = linear(p, "output", joined.flatten(1, 3))
        lattice = logits.view(clients * batch, frames, history.shape[2], -1)
        nll = rnnt_nll(lattice, y.flatten(0, 1), x_lens.flatten(), y_lens.flatten())
        return nll.view(clients, batch)

    return losses


def _ctc(config: CtcConfig) -> Losses:
    def losses(p: Parameters, x: Tensor, y: Tensor, x_lens: Tensor, y_lens: Tensor) -> Tensor:
        clients, batch, frames, _ = x.shape
        encoder = config.encoder
        encoded = encode(p, encoder.layers, encoder.bidirectional, x, x_lens)
        logits = linear(p, "output", encoded.flatten(1, 2)).view(clients * batch, frames, -1)
        nll = nn.functional.ctc_loss(
            torch.log_softmax(logits, -1).transpose(0, 1),
            y.flatten(0, 1),
            x_lens.flatten(),
            y_lens.flatten(),
            blank=BLANK,
            reduction="none",
            zero_infinity=True,
        )
        return nll.view(clients, batch)

    return losses


def _two_layer(p: Parameters, x: Tensor, y: Tensor, x_lens: Tensor, y_lens: Tensor) -> Tensor:
    clients, batch, frames, _ = x.shape
    hidden = torch.relu(linear(p, "hidden1", x.flatten(1, 2)))
    hidden = torch.relu(linear(p, "hidden2", hidden))
    logits = linear(p, "output", hidden).view(clients * batch, frames, -1)
    return frame_nll(logits, y.flatten(0, 1), y_lens.flatten()).view(clients, batch)

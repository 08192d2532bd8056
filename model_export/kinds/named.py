"""Modules whose `forward` takes a batch by names of a closed list, and returns a loss a row.

class Model(nn.Module):
    predicts = "ctc"
    def forward(self, features, lengths, targets, target_lengths) -> Tensor: ...   # [B]
    def predict(self, features, lengths) -> Tensor: ...       # logits [B, T, V]
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

if TYPE_CHECKING:
    from torch import Tensor

    from fedvoice.model_export.batch import TensorBatch

INPUTS: dict[str, tuple[str, Callable[[TensorBatch], Tensor]]] = {
    "features": (
        "float32 [B, T, I], zero beyond a row's length",
        lambda batch: batch.features,
    ),
    "waveform": (
        "float32 [B, N]: samples, of a task whose features.kind is waveform",
        lambda batch: batch.features.flatten(1),
    ),
    "lengths": (
        "int64 [B]: frames of a row; samples where `waveform` is taken",
        lambda batch: batch.frame_counts,
    ),
    "mask": (
        "bool [B, T]: true inside a row's length; [B, N] of a waveform",
        lambda batch: _inside(batch),
    ),
    "targets": ("int64 [B, U]: token ids, 0 beyond a row's count", lambda batch: batch.targets),
    "target_lengths": ("int64 [B]", lambda batch: batch.target_counts),
    "label": ("int64 [B]: the first token's id", lambda batch: batch.targets[:, 0]),
}
"""What a `forward` may take: shape, and how it is made of a batch."""

WITHOUT_TARGETS = ("features", "waveform", "lengths", "mask")
"""What a `predict` may take."""


def named_arguments(function: Callable[..., Any], batch: TensorBatch) -> dict[str, Tensor]:
    """What `function` takes of a batch, by name."""
    names = taken(function)
    found = {name: INPUTS[name][1](batch) for name in names}
    if "waveform" in found and "lengths" in found:
        found["lengths"] = found["lengths"] * batch.features.shape[2]
    return found


def taken(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of a function's arguments that have no default, without `self`."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(
        p.name
        for p in parameters
        if p.name != "self" and (p.default is p.empty or p.name in INPUTS) and p.kind in _NAMED
    )


def takes_batch(function: Callable[..., Any]) -> bool:
    """Whether a function takes the whole batch, as `loss(batch)` does."""
    return list(taken(function)) == ["batch"]


def check_named(function: Callable[..., Any], where: str, allowed: tuple[str, ...]) -> None:
    """Raise `bad-config` unless a function takes nothing but inputs of the list.

    Raises:
        FedvoiceError: `bad-config` with the unknown name and the list.
    """
    unknown = [name for name in taken(function) if name not in allowed]
    if unknown or not taken(function):
        listed = "; ".join(f"{name}: {INPUTS[name][0]}" for name in allowed)
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=where,
            got=f"an argument {unknown[0]!r}" if unknown else "no arguments",
            wanted=listed,
            next_step="Name the arguments so, or give the module `loss(batch)`.",
        )


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _inside(batch: TensorBatch) -> Tensor:
    import torch

    frames = torch.arange(batch.features.shape[1])
    return frames[None, :] < batch.frame_counts[:, None]

"""Double precision for a module of which some function has none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverloadPacket
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

SINGLE_ONLY = {"torchaudio.rnnt_loss_forward"}
"""Operators that refuse float64."""


class SingleWhereItMust(TorchFunctionMode):
    """Gives float32 to operators that refuse float64, and makes their results float64 again."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """See `TorchFunctionMode`."""
        kwargs = kwargs or {}
        name = str(func) if isinstance(func, OpOverloadPacket) else ""
        if name not in SINGLE_ONLY or args[0].dtype != torch.float64:
            return func(*args, **kwargs)
        given = tree_map_only(Tensor, _single, (args, kwargs))
        return tree_map_only(Tensor, Tensor.double, func(*given[0], **given[1]))


def _single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float64 else tensor

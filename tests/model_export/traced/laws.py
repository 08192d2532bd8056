"""The law of every rewrite: inside the mode, values and gradients are plain PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import fedvoice.model_export.traced.rewrites  # noqa: F401  fills the table
from fedvoice.model_export.traced.rewriting import Rewriting

Function = Callable[..., Any]


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Values that no kink is near, for what has one at 0."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return x + 0.05 * x.sign()


def agrees(function: Function, *inputs: Any, rewritten: str, tolerance: float = 1e-9) -> None:
    """`function` is the same inside the mode, where `rewritten` was met.

    Inputs that are floating tensors are differentiated; results may be tuples.
    """
    wanted, wanted_gradients = _differentiated(function, inputs)
    with Rewriting() as mode:
        found, gradients = _differentiated(function, inputs)
    assert rewritten in mode.notes.rewritten
    for ours, theirs in zip((*found, *gradients), (*wanted, *wanted_gradients), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def _differentiated(
    function: Function, inputs: Sequence[Any]
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    given = [
        x.detach().clone().requires_grad_()
        if isinstance(x, Tensor) and x.is_floating_point()
        else x
        for x in inputs
    ]
    leaves = [x for x in given if isinstance(x, Tensor) and x.requires_grad]
    result = function(*given)
    results = result if isinstance(result, tuple) else (result,)
    learnt = [y for y in results if y.requires_grad]
    # The same for both, and different in every place.
    by_results = [torch.cos(torch.arange(y.numel()) + 1.0).reshape(y.shape).to(y) for y in learnt]
    with torch._C.DisableTorchFunction():
        gradients = torch.autograd.grad(learnt, leaves, by_results)
    return [y.detach() for y in results], gradients

"""Activations, norms, losses and masks inside the mode are plain PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.model_export.traced.laws import agrees, randn

ACTIVATIONS: list[tuple[str, Callable[[Tensor], Tensor]]] = [
    ("silu", functional.silu),
    ("silu", lambda x: functional.silu(x * 1, inplace=True)),
    ("relu", functional.relu),
    ("relu", torch.relu),
    ("relu", lambda x: (x * 1).relu_()),
    ("relu", lambda x: functional.relu(x * 1, inplace=True)),
    ("hardtanh", lambda x: functional.hardtanh(x, -0.5, 0.7)),
    ("hardtanh", lambda x: functional.hardtanh(x * 1, 0.0, 0.7, inplace=True)),
    ("hardtanh", functional.relu6),
    ("glu", lambda x: functional.glu(x, 1)),
    ("softplus", functional.softplus),
    ("softplus", lambda x: functional.softplus(x, beta=2.5)),
    ("mish", functional.mish),
    ("mish", lambda x: functional.mish(x * 1, inplace=True)),
    ("gelu", lambda x: functional.gelu(x, approximate="tanh")),
    ("softmax", lambda x: functional.softmax(x, -1)),
    ("softmax", lambda x: x.softmax(2)),
    ("softmax", lambda x: torch.softmax(x, dim=-1, dtype=torch.float64)),
]


@pytest.mark.parametrize(("name", "function"), ACTIVATIONS)
def test_activations(name: str, function: Callable[[Tensor], Tensor]) -> None:
    agrees(function, 3 * randn(2, 4, 5), rewritten=name, tolerance=1e-8)


def test_gelu_is_exact_near_0_and_far_from_it() -> None:
    # Its gradient is a series of 8 digits near 0; float32 has 7.
    x = torch.cat([torch.linspace(-6, 6, 501), torch.linspace(-0.3, 0.3, 101)]).double()
    agrees(functional.gelu, x, rewritten="gelu", tolerance=2e-7)


def test_softplus_and_logaddexp_stay_finite() -> None:
    x = torch.tensor([-400.0, -30.0, 0.0, 30.0, 400.0]).double()
    agrees(functional.softplus, x, rewritten="softplus", tolerance=1e-8)
    agrees(torch.logaddexp, x, x.flip(0) + 1, rewritten="logaddexp")
    agrees(torch.logaddexp, randn(3, 1), randn(1, 4, seed=1), rewritten="logaddexp")


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_of_any_rank(shape: tuple[int, ...], bias: bool) -> None:
    extra = [randn(5, seed=2)] if bias else []
    agrees(functional.linear, randn(*shape), randn(5, 4, seed=1), *extra, rewritten="linear")


def test_what_is_written_in_place_is_seen_under_the_old_name() -> None:
    def residual(x: Tensor) -> Tensor:
        h = x * 2
        before = h + 1
        h.masked_fill_(torch.tensor([True, False, False]), 0.25)
        h[h > 0.5] = 0.5
        functional.relu(h, inplace=True)
        return h * h + before

    agrees(residual, randn(4, 3), rewritten="relu")


def test_what_callers_add_to_a_result_does_not_reach_its_gradient() -> None:
    def bumped(x: Tensor) -> Tensor:
        h = functional.silu(x)
        h += 1
        return h * h

    agrees(bumped, randn(4, 3), rewritten="silu")


NORMS: list[tuple[str, Callable[..., Tensor]]] = [
    (
        "layer_norm",
        lambda x, w, b: functional.layer_norm(x, (6, 4), w.expand(6, 4), b.expand(6, 4)),
    ),
    ("layer_norm", lambda x, w, b: functional.layer_norm(x, (4,), w, b, eps=1e-2)),
    ("layer_norm", lambda x, w, b: functional.layer_norm(x + w + b, (4,))),
    ("rms_norm", lambda x, w, b: functional.rms_norm(x, (4,), w) + b),
    ("rms_norm", lambda x, w, b: functional.rms_norm(x + w + b, (6, 4), eps=1e-3)),
    ("group_norm", lambda x, w, b: functional.group_norm(x, 2, _six(w), _six(b))),
    ("group_norm", lambda x, w, b: functional.group_norm(x + w + b, 3)),
    ("instance_norm", lambda x, w, b: functional.instance_norm(x, None, None, _six(w), _six(b))),
    ("std", lambda x, w, b: torch.std(x * w + b, 1)),
    ("std", lambda x, w, b: (x * w + b).std((0, 2), keepdim=True)),
    ("std", lambda x, w, b: torch.std(x * w + b)),
    ("var", lambda x, w, b: torch.var(x * w + b, dim=2, unbiased=False)),
    ("var", lambda x, w, b: torch.var(x * w + b, False)),
    ("var", lambda x, w, b: torch.var(x * w + b, 1, correction=2)),
    ("std_mean", lambda x, w, b: torch.std_mean(x * w + b, 1)),
    ("var_mean", lambda x, w, b: torch.var_mean(x * w + b, (1, 2), keepdim=True)),
    ("weight_norm", lambda x, w, b: torch._weight_norm(x, w.sum().expand(1, 6, 1) + b.sum(), 1)),
    ("weight_norm", lambda x, w, b: torch._weight_norm(x, w.sum() + b.sum(), -1)),
]


def _six(w: Tensor) -> Tensor:
    return torch.cat([w, w[:2] * 2])


@pytest.mark.parametrize(("name", "function"), NORMS)
def test_norms_and_deviations(name: str, function: Callable[..., Tensor]) -> None:
    x, w, b = randn(2, 6, 4), randn(4, seed=1), randn(4, seed=2)
    agrees(function, x, w, b, rewritten=name, tolerance=1e-8)


def test_deviation_of_a_constant_has_gradient_0() -> None:
    agrees(lambda x: torch.std(x * 0 + 1, 1), randn(3, 4), rewritten="std")


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (4, 3, 5, 2)])
def test_batch_norm_in_training_mode_is_that_of_eval_mode(shape: tuple[int, ...]) -> None:
    kind = [nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d][len(shape) - 2]
    layer = kind(3).double()
    layer.running_mean, layer.running_var = randn(3), randn(3, seed=1).abs()

    def normed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        layer.train(torch.overrides.has_torch_function((x,)))  # a mode is on
        named = {"weight": weight, "bias": bias}
        result: Tensor = torch.func.functional_call(layer, named, (x,))
        return result

    before = layer.running_mean.clone()
    inputs = randn(*shape), randn(3, seed=2), randn(3, seed=3)
    agrees(normed, *inputs, rewritten="batch_norm")
    assert torch.equal(layer.running_mean, before)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(
    ("name", "options"),
    [("mse_loss", {}), ("smooth_l1_loss", {"beta": 0.4}), ("huber_loss", {"delta": 0.6})],
)
def test_losses(name: str, options: dict[str, Any], reduction: str) -> None:
    def loss(a: Tensor, b: Tensor) -> Tensor:
        result: Tensor = getattr(functional, name)(a, b, reduction=reduction, **options)
        return result

    agrees(loss, randn(4, 3), randn(4, 3, seed=1), rewritten=name)


@pytest.mark.parametrize("value", [0, 0.0, -1e9, 2.5, float("-inf")])
def test_masks(value: float) -> None:
    mask = randn(4, 1, seed=1) > 0
    x = randn(4, 3)
    # -inf is no arithmetic and stays as it is.
    name = "masked_fill" if abs(value) < 1e30 else "linear"
    with_linear = lambda x: functional.linear(x, torch.eye(3).double())  # noqa: E731
    agrees(lambda x: with_linear(x).masked_fill(mask, value), x, rewritten=name)
    agrees(lambda x: with_linear(x).masked_fill_(mask, value), x, rewritten="masked_fill")


@pytest.mark.parametrize("padding", [None, 2])
def test_embeddings_pick_rows(padding: int | None) -> None:
    ids = torch.tensor([[1, 2, 2], [0, 4, 1]])
    agrees(
        lambda w: functional.embedding(ids, w, padding_idx=padding),
        randn(5, 3),
        rewritten="embedding",
    )

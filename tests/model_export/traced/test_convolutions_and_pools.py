"""Convolutions and pooling inside the mode are plain PyTorch's, however the kernel moves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from tests.model_export.traced.laws import agrees, randn

SIZES = st.integers(1, 3)
EXAMPLES = settings(max_examples=25, deadline=None, derandomize=True)


@EXAMPLES
@given(
    kernel=st.tuples(SIZES, st.integers(1, 5)),
    stride=st.tuples(SIZES, SIZES),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(SIZES, SIZES),
    groups=st.sampled_from([(1, 1, 1), (1, 3, 2), (2, 1, 2), (2, 2, 1), (3, 1, 1), (3, 1, 2)]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 20)),
)
def test_conv2d(
    kernel: Any, stride: Any, padding: Any, dilation: Any, groups: Any, size: Any
) -> None:
    count, inputs, outputs = groups
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    assume(all(n + 2 * p >= r for n, p, r in zip(size, padding, reach, strict=True)))
    x = randn(2, count * inputs, *size)
    w, b = randn(count * outputs, inputs, *kernel, seed=1), randn(count * outputs, seed=2)
    options = (stride, padding, dilation, count)
    agrees(lambda x, w, b: functional.conv2d(x, w, b, *options), x, w, b, rewritten="conv2d")


@EXAMPLES
@given(
    kernel=st.tuples(SIZES, SIZES),
    stride=st.tuples(SIZES, SIZES),
    dilation=st.tuples(SIZES, SIZES),
    padding=st.integers(0, 1),
    extra=st.integers(0, 1),
    groups=st.sampled_from([(1, 2, 3), (2, 1, 2), (3, 1, 1)]),
    size=st.tuples(st.integers(2, 5), st.integers(2, 6)),
)
def test_conv_transpose2d(
    kernel: Any, stride: Any, dilation: Any, padding: int, extra: int, groups: Any, size: Any
) -> None:
    count, inputs, outputs = groups
    assume(extra < min(max(s, d) for s, d in zip(stride, dilation, strict=True)))
    x = randn(2, count * inputs, *size)
    w, b = randn(count * inputs, outputs, *kernel, seed=1), randn(count * outputs, seed=2)
    results = [
        (n - 1) * s - 2 * padding + d * (k - 1) + extra + 1
        for n, s, d, k in zip(size, stride, dilation, kernel, strict=True)
    ]
    assume(min(results) > 0)

    def transposed(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        options = (stride, padding, extra, count, dilation)
        return functional.conv_transpose2d(x, w, b, *options)

    agrees(transposed, x, w, b, rewritten="conv_transpose2d")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1},
        {"padding": "same", "dilation": 2},
        {"padding": "same", "groups": 4},
        {"padding": 3, "groups": 4},
        {"groups": 4, "stride": 2},
        {"groups": 2, "padding": 4},
        {"padding": "valid", "bias": False},
    ],
)
@pytest.mark.parametrize("kernel", [1, 4, 7])
@pytest.mark.parametrize("frames", [9, 40])
def test_conv1d_layers(options: dict[str, Any], kernel: int, frames: int) -> None:
    layer = nn.Conv1d(4, 4, kernel, **options).double()
    agrees(_with_parameters(layer), randn(3, 4, frames), *layer.parameters(), rewritten="conv1d")
    agrees(_with_parameters(layer), randn(4, frames), *layer.parameters(), rewritten="conv1d")


def test_conv_transpose1d_layers() -> None:
    layer = nn.ConvTranspose1d(4, 6, 5, stride=3, padding=2, output_padding=1, groups=2).double()
    x = randn(2, 4, 7)
    agrees(_with_parameters(layer), x, *layer.parameters(), rewritten="conv_transpose1d")


def test_conv2d_without_a_batch() -> None:
    layer = nn.Conv2d(2, 3, (3, 2), padding="same").double()
    agrees(_with_parameters(layer), randn(2, 5, 6), *layer.parameters(), rewritten="conv2d")


def _with_parameters(layer: nn.Module) -> Any:
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip(names, parameters, strict=True))
        result: Tensor = torch.func.functional_call(layer, named, (x,))
        return result

    return run


POOLED = {
    "kernel": st.tuples(SIZES, SIZES),
    "stride": st.tuples(SIZES, SIZES),
    "size": st.tuples(st.integers(3, 8), st.integers(3, 9)),
    "ceil_mode": st.booleans(),
}


@EXAMPLES
@given(dilation=st.tuples(SIZES, SIZES), pads=st.booleans(), **POOLED)
def test_max_pooling(
    kernel: Any, stride: Any, size: Any, ceil_mode: bool, dilation: Any, pads: bool
) -> None:
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    padding = [k // 2 if pads else 0 for k in kernel]
    assume(all(n + 2 * p >= r for n, p, r in zip(size, padding, reach, strict=True)))
    options = (kernel, stride, padding, dilation, ceil_mode)
    x = randn(2, 3, *size)
    agrees(lambda x: functional.max_pool2d(x, *options), x, rewritten="max_pool")
    agrees(lambda x: functional.max_pool2d(x, *options), x[0], rewritten="max_pool")


@EXAMPLES
@given(counts_padding=st.booleans(), pads=st.booleans(), **POOLED)
def test_average_pooling(
    kernel: Any, stride: Any, size: Any, ceil_mode: bool, counts_padding: bool, pads: bool
) -> None:
    padding = [k // 2 if pads else 0 for k in kernel]
    options = (kernel, stride, padding, ceil_mode, counts_padding)
    x = randn(2, 3, *size)
    agrees(lambda x: functional.avg_pool2d(x, *options), x, rewritten="avg_pool")
    agrees(lambda x: functional.avg_pool2d(x, *options, 7), x, rewritten="avg_pool")


@pytest.mark.parametrize("shape", [(2, 3, 11), (3, 11)])
def test_pooling_over_time(shape: tuple[int, ...]) -> None:
    x = randn(*shape)
    agrees(lambda x: functional.max_pool1d(x, 3), x, rewritten="max_pool")
    agrees(lambda x: functional.max_pool1d(x, 3, 2, 1, 2, True), x, rewritten="max_pool")
    agrees(lambda x: functional.avg_pool1d(x, 3), x, rewritten="avg_pool")
    agrees(lambda x: functional.avg_pool1d(x, 4, 3, 1, True, False), x, rewritten="avg_pool")


def test_of_equal_values_the_first_takes_the_gradient_of_max_pooling() -> None:
    x = torch.zeros(1, 1, 4, 6).double()
    agrees(lambda x: functional.max_pool2d(x, 2), x, rewritten="max_pool")


@pytest.mark.parametrize("result", [1, 3, 11, (2, 5), (None, 4)])
def test_adaptive_average_pooling(result: Any) -> None:
    x = randn(2, 3, 7, 11)
    agrees(lambda x: functional.adaptive_avg_pool2d(x, result), x, rewritten="adaptive_avg_pool")
    if isinstance(result, int):
        agrees(
            lambda x: functional.adaptive_avg_pool1d(x, result), x[0], rewritten="adaptive_avg_pool"
        )

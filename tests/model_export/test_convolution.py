"""Convolution and pooling by gathers, against PyTorch's own and on paper."""

from __future__ import annotations

import torch
from torch.nn import functional

from fedvoice.model_export.graphs.convolution import (
    convolution_tables,
    convolve_and_pool,
    input_gradient,
    pool_order,
    unpool,
    weight_gradients,
)


def test_places_stand_window_by_window() -> None:
    # 0  1 | 2  3
    # 4  5 | 6  7
    # 8  9 |10 11
    # 12 13|14 15
    firsts = [0, 2, 8, 10]
    wanted = [place + offset for offset in (0, 1, 4, 5) for place in firsts]
    assert pool_order(4).tolist() == wanted


def test_values_and_gradients_are_those_of_convolution_and_max_pooling() -> None:
    torch.manual_seed(0)
    side, count, ins, outs, kernel = 4, 3, 2, 5, 3
    images = torch.randn(count, ins, side, side, requires_grad=True)
    weight = torch.randn(outs, ins, kernel, kernel, requires_grad=True)
    bias = torch.randn(outs, requires_grad=True)
    convolved = functional.conv2d(images, weight, bias, padding="same")
    wanted = functional.max_pool2d(torch.relu(convolved), 2)
    grad = torch.randn(wanted.shape)
    wanted.backward(grad)  # type: ignore[no-untyped-call]

    tables = convolution_tables(side, kernel)
    with torch.no_grad():
        ours = images.flatten(2).permute(1, 2, 0).contiguous()
        taps = weight.flatten(2)
        pooled = convolve_and_pool(ours, taps, bias, tables.from_input)
        result = unpool(pooled, grad.flatten(2).permute(1, 2, 0))
        by_weight, by_bias = weight_gradients(result, pooled)
        by_image = input_gradient(result, taps, tables.from_result, tuple(ours.shape))
    torch.testing.assert_close(pooled.values, wanted.detach().flatten(2).permute(1, 2, 0))
    assert weight.grad is not None
    assert images.grad is not None
    torch.testing.assert_close(by_weight, weight.grad.flatten(1))
    torch.testing.assert_close(by_bias, bias.grad)
    torch.testing.assert_close(by_image, images.grad.flatten(2).permute(1, 2, 0))


def test_of_equal_values_the_first_in_the_window_gets_the_gradient() -> None:
    # A blank image: every place of the convolution is the bias.
    tables = convolution_tables(4, 3)
    blank, weight = torch.zeros(1, 16, 1), torch.ones(1, 1, 9)
    pooled = convolve_and_pool(blank, weight, torch.tensor([0.5]), tables.from_input)
    assert pooled.values.flatten().tolist() == [0.5] * 4
    grad = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1)
    assert unpool(pooled, grad).flatten().tolist() == [1, 2, 3, 4] + [0] * 12
    below = convolve_and_pool(blank, weight, torch.tensor([-0.5]), tables.from_input)
    assert unpool(below, grad).abs().max().item() == 0

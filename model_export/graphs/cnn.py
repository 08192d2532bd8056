"""The CNN and its gradient: images innermost, channels outermost (`graphs.convolution`)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fedvoice.model_export.graphs.convolution import (
    convolution_tables,
    convolve_and_pool,
    input_gradient,
    unpool,
    weight_gradients,
)
from fedvoice.model_export.graphs.labeller import LabellerNet, LabellerRun
from fedvoice.model_export.graphs.ops import linear, permute, product, row_sums
from fedvoice.model_export.graphs.two_layer import passed
from fedvoice.model_export.models.cnn import KERNEL


class CnnNet(LabellerNet):
    """Images [B*T] of side x side -> C."""

    first_input: Tensor
    second_input: Tensor
    second_result: Tensor

    def __init__(self, side: int, frames: int, batch: int) -> None:
        super().__init__(frames, batch)
        self.side = side
        first, second = convolution_tables(side, KERNEL), convolution_tables(side // 2, KERNEL)
        self.register_buffer("first_input", first.from_input, persistent=False)
        self.register_buffer("second_input", second.from_input, persistent=False)
        self.register_buffer("second_result", second.from_result, persistent=False)

    def run(self, parameters: Mapping[str, Tensor], x: Tensor) -> LabellerRun:
        """See `LabellerNet`."""
        p, count = parameters, self.batch * self.frames
        images = permute(x.reshape(count, self.side**2), 1, 0).reshape(1, -1, count)
        weight1, weight2 = _by_tap(p["conv1.weight"]), _by_tap(p["conv2.weight"])
        first = convolve_and_pool(images, weight1, p["conv1.bias"], self.first_input)
        second = convolve_and_pool(first.values, weight2, p["conv2.bias"], self.second_input)
        flat = second.values.reshape(-1, count)  # [channels * places, N]
        dense = torch.relu(product(p["dense.weight"], flat) + p["dense.bias"].reshape(-1, 1))
        rows = permute(dense, 1, 0)
        logits = linear(rows, p["output.weight"]) + p["output.bias"]

        def backward(grad_logits: Tensor) -> dict[str, Tensor]:
            grad_t = permute(grad_logits.reshape(count, -1), 1, 0)
            gradients = {
                "output.weight": product(grad_t, rows),
                "output.bias": row_sums(grad_t),
            }
            grad = product(permute(p["output.weight"], 1, 0), grad_t) * passed(dense)
            gradients["dense.weight"] = linear(grad, flat)
            gradients["dense.bias"] = row_sums(grad)
            # By rows: turning round 10 columns costs less than turning round the weights.
            grad = permute(product(permute(grad, 1, 0), p["dense.weight"]), 1, 0)
            result = unpool(second, grad)
            gradients["conv2.weight"], gradients["conv2.bias"] = weight_gradients(result, second)
            shape = tuple(first.values.shape)
            grad = input_gradient(result, weight2, self.second_result, shape)
            result = unpool(first, grad)
            gradients["conv1.weight"], gradients["conv1.bias"] = weight_gradients(result, first)
            return gradients

        return LabellerRun(logits.reshape(self.batch, self.frames, -1), backward)


def _by_tap(weight: Tensor) -> Tensor:
    """[O, I, k, k] -> [O, I, k*k]."""
    return weight.reshape(*weight.shape[:2], -1)

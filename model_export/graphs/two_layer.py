"""The 2NN and its gradient, on rows of frames."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fedvoice.model_export.graphs.labeller import LabellerNet, LabellerRun
from fedvoice.model_export.graphs.ops import linear, permute, product, row_sums


class TwoLayerNet(LabellerNet):
    """Rows [B*T, I] -> ReLU -> ReLU -> C."""

    def run(self, parameters: Mapping[str, Tensor], x: Tensor) -> LabellerRun:
        """See `LabellerNet`."""
        p = parameters
        rows = x.reshape(self.batch * self.frames, -1)
        first = torch.relu(linear(rows, p["hidden1.weight"]) + p["hidden1.bias"])
        second = torch.relu(linear(first, p["hidden2.weight"]) + p["hidden2.bias"])
        logits = linear(second, p["output.weight"]) + p["output.bias"]

        def backward(grad_logits: Tensor) -> dict[str, Tensor]:
            grad = grad_logits.reshape(self.batch * self.frames, -1)
            gradients: dict[str, Tensor] = {}
            for name, inputs in (("output", second), ("hidden2", first), ("hidden1", rows)):
                grad_t = permute(grad, 1, 0)
                gradients[f"{name}.weight"] = product(grad_t, inputs)
                gradients[f"{name}.bias"] = row_sums(grad_t)
                if inputs is not rows:
                    grad = product(grad, p[f"{name}.weight"]) * passed(inputs)
            return gradients

        return LabellerRun(logits.reshape(self.batch, self.frames, -1), backward)


def passed(activation: Tensor) -> Tensor:
    """1 where a ReLU let its input through, 0 elsewhere."""
    return (activation > 0).to(torch.float32)

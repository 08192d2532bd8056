"""The 2NN of McMahan et al. 2016 (arXiv 1602.05629, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.kinds.two_layer import TwoLayerConfig
from fedvoice.model_export.models.batched import Parameters, linear
from fedvoice.model_export.models.labeller import FrameLabeller, frame_nll


class TwoLayerModel(FrameLabeller):
    """Two hidden layers with ReLU on each frame: 784-200-200-10 has 199,210 parameters."""

    def __init__(self, config: TwoLayerConfig, input_size: int, vocabulary_size: int) -> None:
        super().__init__(vocabulary_size)
        self.hidden1 = nn.Linear(input_size, config.hidden_size)
        self.hidden2 = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, self.classes)

    def forward(self, x: Tensor) -> Tensor:
        """See `FrameLabeller`."""
        logits: Tensor = self.output(torch.relu(self.hidden2(torch.relu(self.hidden1(x)))))
        return logits


def many_losses(p: Parameters, batch: TensorBatch) -> Tensor:
    """`TwoLayerModel.nll` for many clients."""
    x, y, _, y_lens, _ = batch
    clients, rows, frames, _ = x.shape
    hidden = torch.relu(linear(p, "hidden1", x.flatten(1, 2)))
    hidden = torch.relu(linear(p, "hidden2", hidden))
    logits = linear(p, "output", hidden).view(clients * rows, frames, -1)
    return frame_nll(logits, y.flatten(0, 1), y_lens.flatten()).view(clients, rows)

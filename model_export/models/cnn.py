"""The CNN of McMahan et al. 2016 (arXiv 1602.05629, section 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedvoice.model_export.kinds.cnn import CnnConfig
from fedvoice.model_export.models.labeller import FrameLabeller
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

KERNEL = 5


def image_side(input_size: int) -> int:
    """Rows and columns of a frame that is a square image.

    Raises:
        FedvoiceError: `bad-config` unless it can be halved twice by pooling.
    """
    side = math.isqrt(input_size)
    if side * side != input_size or side % 4:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="features of a cnn",
            got=f"{input_size} values a frame",
            wanted="a square image whose side divides by 4, such as 28 x 28",
            next_step="Set stack and mel_bins to the rows and columns of an image.",
        )
    return side


class CnnModel(FrameLabeller):
    """Twice 5x5 convolution, ReLU, 2x2 max-pooling; a dense layer with ReLU; softmax.

    With channels 32 and 64, 512 dense units and ten classes 1,663,370 parameters for 28 x 28
    images. A frame is an image, row by row.
    """

    def __init__(self, config: CnnConfig, input_size: int, vocabulary_size: int) -> None:
        super().__init__(vocabulary_size)
        self.side = image_side(input_size)
        first, second = config.channels1, config.channels2
        self.conv1 = nn.Conv2d(1, first, KERNEL, padding="same")
        self.conv2 = nn.Conv2d(first, second, KERNEL, padding="same")
        self.dense = nn.Linear(second * (self.side // 4) ** 2, config.dense_size)
        self.output = nn.Linear(config.dense_size, self.classes)

    def forward(self, x: Tensor) -> Tensor:
        """See `FrameLabeller`."""
        images = x.reshape(-1, 1, self.side, self.side)
        pooled = functional.max_pool2d(torch.relu(self.conv1(images)), 2)
        pooled = functional.max_pool2d(torch.relu(self.conv2(pooled)), 2)
        hidden = torch.relu(self.dense(pooled.flatten(1)))
        logits: Tensor = self.output(hidden)
        return logits.reshape(*x.shape[:2], -1)

    def random_inputs(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """See `TaskModel`: the upper half is blank, so that pooling meets equal values."""
        images = torch.randn(shape, generator=generator).reshape(-1, self.side**2)
        images[:, : self.side**2 // 2] = 0
        return images.reshape(shape)

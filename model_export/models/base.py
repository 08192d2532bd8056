"""The interface of eager models: loss of a row, greedy tokens, inputs for checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.models.greedy import Hypothesis
from fedvoice.protocol.task import Bucket


class TaskModel(nn.Module, ABC):
    """An eager module whose last layer is `output`.

    Attributes:
        vocabulary_size: V, tokens of the task with the blank, which is 0.
    """

    output: nn.Linear
    checked_by_rows = True
    """Whether a row alone has the loss that it has in a batch: a program is then compared with
    that, which also shows that rows and padding do not touch each other."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size

    @abstractmethod
    def nll(self, batch: TensorBatch) -> Tensor:
        """Loss of each row [B], differentiable; weights play no part."""

    @abstractmethod
    def greedy(self, x: Tensor, x_lens: Tensor) -> list[Hypothesis]:
        """Likeliest tokens of stacked inputs x [B, T, I], x_lens int64 [B]."""

    def frame_outputs(self, x: Tensor, x_lens: Tensor) -> Tensor:
        """What `stream_<frames>` gives [B, T, O], of stacked inputs x [B, T, I]; streaming kinds
        have it."""
        raise NotImplementedError(type(self).__name__)

    def most_labels(self, x_lens: Tensor) -> Tensor:
        """Labels that rows of x_lens int64 [B] frames can always hold, int64 [B]."""
        return torch.full_like(x_lens, torch.iinfo(torch.int64).max)

    def random_inputs(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Random inputs float32 of `shape` for checks, distributed like real ones."""
        return torch.randn(shape, generator=generator)

    def draws(self, bucket: Bucket) -> int:
        """D: random numbers that a training step of a bucket takes."""
        return 0

    def drawing(self, bucket: Bucket, draws: Tensor) -> AbstractContextManager[object]:
        """Where a loss of a bucket's batch takes `draws` [D] for its random numbers."""
        return nullcontext()

    def real_name(self, name: str) -> str:
        """What torch calls the parameter `name` of `named_parameters` within this module."""
        return name

    def fixed(self) -> dict[str, Tensor]:
        """Tensors that do not train and that the constructor's settings alone do not tell."""
        return {}

    def seedable(self) -> dict[str, Tensor]:
        """Tensors that a checkpoint may give; it must give those that are parameters."""
        return dict(self.named_parameters())

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the values of some of `seedable`."""
        own = self.seedable()
        with torch.no_grad():
            for name, tensor in tensors.items():
                own[name].copy_(tensor)

    def fix(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the values of `fixed` from a file's."""

    def make_checkable(self) -> None:
        """Change weights so that every gradient says something."""

    def make_restless(self) -> None:
        """Change weights so that tokens are emitted occasionally; fresh models emit hardly any."""
        for name, parameter in self.named_parameters():
            if name.startswith(("joint_", "output.")):
                parameter.mul_(6.0)
        self.output.bias.zero_()

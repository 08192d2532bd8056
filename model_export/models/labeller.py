"""Frame labellers: one label for each frame, no alignment to find.

Images and next characters fit the speech-shaped batch in this form: a row of T frames and U <= T
labels, label u said of frame u. The blank keeps its id 0 and is never a label, so the output
layer has C = V - 1 rows and stands for tokens 1..C: parameters are those of the literature.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.models.greedy import Hypothesis, margins


class FrameLabeller(TaskModel):
    """A model with logits [B, T, C] for tokens 1..C."""

    @property
    def classes(self) -> int:
        """C."""
        return self.vocabulary_size - 1

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, T, C] for stacked inputs x [B, T, I]."""

    def nll(self, batch: TensorBatch) -> Tensor:
        """See `TaskModel`; the mean over a row's labels, as `frame_nll`."""
        return frame_nll(self(batch.features), batch.targets, batch.target_counts)

    @torch.no_grad()
    def greedy(self, x: Tensor, x_lens: Tensor) -> list[Hypothesis]:
        """See `TaskModel`: the likeliest token of each frame."""
        logits = self(x)
        tokens, gaps = logits.argmax(-1) + 1, margins(logits)
        return [
            Hypothesis(row[:frames].tolist(), float(gap[:frames].min()))
            for row, gap, frames in zip(tokens, gaps, x_lens.tolist(), strict=True)
        ]

    def most_labels(self, x_lens: Tensor) -> Tensor:
        """See `TaskModel`: one a frame."""
        return x_lens


def frame_nll(logits: Tensor, y: Tensor, y_lens: Tensor) -> Tensor:
    """Mean cross-entropy over each row's labels [B]; 0 for a row without labels.

    Control flow does not depend on lengths, so that it can be vmapped over many clients.

    Args:
        logits: [B, T, C] for tokens 1..C. y: int64 [B, U], U <= T. y_lens: int64 [B].
    """
    labels = y.shape[1]
    log_p = torch.log_softmax(logits[:, :labels], -1)
    classes = torch.clamp(y - 1, min=0).unsqueeze(2)
    inside = torch.arange(labels, device=y.device) < y_lens[:, None]
    picked = log_p.gather(2, classes).squeeze(2) * inside.to(log_p.dtype)
    return -picked.sum(1) / torch.clamp(y_lens, min=1)

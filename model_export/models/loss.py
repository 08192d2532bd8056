"""The loss of a batch for every kind of model, and torchaudio's transducer loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.log_mel import of_torchaudio
from fedvoice.model_export.models.base import TaskModel


def loss_of(model: TaskModel, batch: TensorBatch) -> Tensor:
    """sum_b weights[b] * nll[b], differentiable; [] of the model's precision."""
    return (model.nll(batch) * batch.example_weights).sum()


def cut(batch: TensorBatch) -> TensorBatch:
    """Features and targets cut to the longest row: torchaudio accepts no longer tensors."""
    return batch._replace(
        features=batch.features[:, : int(batch.frame_counts.max())],
        targets=batch.targets[:, : int(batch.target_counts.max())],
    )


def rnnt_nll(logits: Tensor, y: Tensor, x_lens: Tensor, y_lens: Tensor) -> Tensor:
    """torchaudio's transducer loss [B] of logits [B, T, U+1, V] in float32 or float64.

    torchaudio computes in float32 alone, which leaves errors of 1e-3 in the gradient at 400
    frames and 120 labels. For float64 the sums are kept small for it: every path takes one
    blank a frame and each label once, so constants by frame and by label come off beforehand
    and are added to its result.
    """
    rnnt_loss = of_torchaudio("functional", "rnnt_loss")
    lengths = [t.to(torch.int32) for t in (y, x_lens, y_lens)]
    if logits.dtype == torch.float32:
        plain: Tensor = rnnt_loss(logits, *lengths, blank=0, reduction="none")
        return plain
    log_p = torch.log_softmax(logits, -1)
    by_frame = log_p[:, :, 0, 0].detach()
    by_label = log_p[:, 0, :-1].gather(2, y.unsqueeze(2)).squeeze(2).detach()
    states, labels = log_p.shape[2], log_p.shape[3] - 1
    off = torch.cat(
        [
            by_frame[:, :, None, None].expand(-1, -1, states, 1),
            nn.functional.pad(by_label, (0, 1))[:, None, :, None].expand(
                -1, by_frame.shape[1], -1, labels
            ),
        ],
        3,
    )
    small: Tensor = rnnt_loss(
        (log_p - off).float(), *lengths, blank=0, reduction="none", fused_log_softmax=False
    )
    return small - _sum_before(by_frame, x_lens) - _sum_before(by_label, y_lens)


def _sum_before(values: Tensor, lengths: Tensor) -> Tensor:
    """[B, N] -> [B]: sums of each row's first lengths[b] values."""
    return (values * (torch.arange(values.shape[1]) < lengths[:, None])).sum(1)

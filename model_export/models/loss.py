"""The reference losses: torchaudio's transducer loss and PyTorch's CTC loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model_export.models import RnntModel, SpeechModel


def weighted_loss(
    model: SpeechModel, x: Tensor, y: Tensor, x_lens: Tensor, y_lens: Tensor, weights: Tensor
) -> Tensor:
    """sum_b weights[b] * nll[b] of an `RnntModel` or `CtcModel`, differentiable.

    Args:
        x: stacked features [B, T, I]. y: int64 [B, U]. x_lens, y_lens: int64 [B].
        weights: float32 [B].
    """
    # Both losses are cut to the longest row: torchaudio accepts no tensor that is longer.
    x, y = x[:, : int(x_lens.max())], y[:, : int(y_lens.max())]
    if isinstance(model, RnntModel):
        from torchaudio.functional import rnnt_loss

        logits = model(x, y, x_lens)
        lengths = (t.to(torch.int32) for t in (y, x_lens, y_lens))
        nll: Tensor = rnnt_loss(logits.float(), *lengths, blank=0, reduction="none")
    else:
        log_p = torch.log_softmax(model(x, x_lens), -1).transpose(0, 1)
        nll = nn.functional.ctc_loss(
            log_p, y, x_lens, y_lens, blank=0, reduction="none", zero_infinity=True
        )
    return (nll * weights).sum()

"""The transducer's loss by our own scan, for torchaudio's `rnnt_loss`."""

from __future__ import annotations

import torch
from torch import Tensor

from fedvoice.model_export.graphs.ops import SMALLEST_PROBABILITY, one_hot
from fedvoice.model_export.graphs.rnnt_loss import LatticeTables, lattice_posteriors
from fedvoice.model_export.traced.forms.basic import total
from fedvoice.model_export.traced.rewriting import Rewriting, replaces


@replaces("torchaudio.rnnt_loss_forward", name="rnnt_loss")
def rnnt_loss(
    mode: Rewriting,
    logits: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    blank: int,
    clamp: float,
    fused_log_softmax: bool = True,
) -> tuple[Tensor, Tensor]:
    """logits [B, T, U+1, V], targets [B, U] -> losses [B] and their gradient by the logits.

    torchaudio's own function around this operator gives both to autograd.
    """
    with torch._C._AutoDispatchBelowAutograd():
        _, frames, states, vocabulary = logits.shape
        if fused_log_softmax:
            p: Tensor = torch.ops.aten._softmax.default(logits, 3, False)
            log_p = torch.log(torch.clamp(p, min=SMALLEST_PROBABILITY))
        else:
            p, log_p = torch.exp(logits), logits
        # A row's last state has no next label; the blank stands there.
        after = torch.full_like(targets[:, :1], blank)
        hot = one_hot(torch.cat([targets, after], 1), vocabulary).unsqueeze(1)
        found = lattice_posteriors(
            log_p[..., blank],
            total(log_p * hot, [3]),
            logit_lengths.long(),
            target_lengths.long(),
            LatticeTables(frames, states),
        )
        by_blank, by_emit = found.blank.unsqueeze(3), found.emit.unsqueeze(3)
        is_blank = (torch.arange(vocabulary) == blank).to(logits.dtype)
        gradient = p * (by_blank + by_emit) - by_emit * hot - by_blank * is_blank
        if clamp > 0:
            gradient = torch.clamp(gradient, -clamp, clamp)
        return found.nll, gradient

"""CTC by our own scan, for `F.ctc_loss` of any library."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from fedvoice.model_export.graphs.ctc_loss import ctc_loss_gradient
from fedvoice.model_export.traced.forms.basic import Backward, Needs, taught
from fedvoice.model_export.traced.rewrites.losses import MEAN, reduced
from fedvoice.model_export.traced.rewrites.refusals import refuse
from fedvoice.model_export.traced.rewriting import Rewriting, replaces


@taught
def _ctc(
    needs: Needs, log_probs: Tensor, y: Tensor, x_lens: Tensor, y_lens: Tensor
) -> tuple[Tensor, Backward]:
    """log_probs [B, T, V] with blank 0, y [B, U] -> nll [B]."""
    ones = torch.ones(log_probs.shape[0])
    nll, gradient = ctc_loss_gradient(log_probs, y, x_lens, y_lens, ones)
    return nll, lambda grad: gradient * grad.reshape(-1, 1, 1)


@replaces(torch.ctc_loss)
def ctc_loss(
    mode: Rewriting,
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: int = MEAN,
    zero_infinity: bool = False,
) -> Tensor:
    """log_probs [T, B, V] by log_softmax; targets [B, U], or chosen from those by a mask.

    Labels that cannot be aligned cost 0, as with `zero_infinity`.
    """
    x_lens, y_lens = (
        v if isinstance(v, Tensor) else torch.tensor(v) for v in (input_lengths, target_lengths)
    )
    single = log_probs.dim() == 2
    if single:
        log_probs, targets = log_probs.unsqueeze(1), targets.reshape(1, -1)
    if targets.dim() == 1:
        if targets not in mode.stands_for:
            refuse(mode, "ctc_loss", "a CTC loss with all rows' targets in one")
        padded, mask = mode.stands_for[targets]
        targets, y_lens = padded * mask, mask.sum(1)
    x_lens, y_lens = x_lens.reshape(-1).long(), y_lens.reshape(-1).long()
    labels = targets.long()
    if blank:  # the loss wants it first
        log_probs = torch.cat([log_probs[..., blank:], log_probs[..., :blank]], -1)
        labels = (labels - blank) % log_probs.shape[2]
    losses = _ctc(log_probs.transpose(0, 1), labels, x_lens, y_lens)
    if reduction == MEAN:
        losses = losses / torch.clamp(y_lens.to(losses.dtype), min=1.0)
    losses = losses.reshape(()) if single else losses
    return reduced(losses, reduction)


@replaces(torch.masked_select, Tensor.masked_select)
def masked_select(mode: Rewriting, x: Tensor, mask: Tensor) -> Tensor:
    """Only as the targets of `ctc_loss`, which takes the padded ones instead."""
    mask = mask.broadcast_to(x.shape)
    if mode.first and (x.dim() != 2 or not bool((mask[:, 1:] <= mask[:, :-1]).all())):
        refuse(mode, "masked_select")
    chosen = x.new_zeros(x.numel())  # nobody reads its values or its size
    mode.stands_for[chosen] = (x, mask.to(x.dtype))
    mode.mark_unreadable(chosen, partial(refuse, mode, "masked_select"))
    return chosen

"""CTC loss and its gradient by the logits (Graves et al. 2006, equations 6-16) as one scan.

alpha and beta are one loop over 2*B rows; for beta both time and label states run backwards.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fedvoice.model_export.graphs.ops import (
    LOG_ZERO,
    SMALLEST_PROBABILITY,
    Tensors,
    log_sum_exp,
    one_hot,
    scan,
    shift_right,
)


def _step(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
    (row,) = carry
    log_emission, no_skip, injected = xs
    skipped = shift_right(row, 2, LOG_ZERO) + no_skip
    row = log_sum_exp(row, shift_right(row, 1, LOG_ZERO), skipped, injected) + log_emission
    return (row,), (row.clone(),)


def ctc_loss_gradient(
    logits: Tensor, y: Tensor, x_lens: Tensor, y_lens: Tensor, example_weights: Tensor
) -> tuple[Tensor, Tensor]:
    """nll [B] and the gradient [B, T, V] of sum_b example_weights[b] * nll[b].

    Rows whose labels cannot be aligned to their frames have loss and gradient zero
    (as `torch.nn.functional.ctc_loss(zero_infinity=True)`).

    Args:
        logits: [B, T, V], blank = 0.
        y: int64 [B, U] padded labels; x_lens, y_lens int64 [B].
    """
    batch, frames, vocabulary = logits.shape
    states = 2 * y.shape[1] + 1
    p = torch.softmax(logits, -1)
    log_p = torch.log(torch.clamp(p, min=SMALLEST_PROBABILITY))
    # blank, y0, blank, y1, ..., blank
    path = torch.stack([torch.zeros_like(y), y], 2).reshape(batch, states - 1)
    path = functional.pad(path, (0, 1))
    # Every path has one emission a frame: measured against the blank's, sums stay small and
    # float32 keeps its digits over long utterances.
    log_blank = log_p[:, :, 0]
    emission = log_p.gather(2, path[:, None, :].expand(batch, frames, states))
    emission = emission - log_blank.unsqueeze(2)
    may_skip = ((path[:, 2:] != path[:, :-2]) & (path[:, 2:] != 0)).to(torch.float32)
    no_skip = (1 - may_skip) * LOG_ZERO
    alpha_no_skip = functional.pad(no_skip, (2, 0), value=LOG_ZERO)
    beta_no_skip = functional.pad(no_skip, (0, 2), value=LOG_ZERO).flip(1)

    both = torch.cat([emission, emission.flip(1).flip(2)], 0).transpose(0, 1).contiguous()
    skips = torch.cat([alpha_no_skip, beta_no_skip], 0)[None].expand(frames, 2 * batch, states)
    injected = _injected(frames, states, x_lens, y_lens)
    start = torch.full((2 * batch, states), LOG_ZERO)
    _, (rows,) = scan(_step, (start,), (both, skips.contiguous(), injected))
    alpha = rows[:, :batch].transpose(0, 1)
    beta = rows[:, batch:].transpose(0, 1).flip(1).flip(2)

    log_paths = log_sum_exp(beta[:, 0, 0], beta[:, 0, 1])
    feasible = (log_paths > LOG_ZERO / 2).to(torch.float32)
    weights = (feasible * example_weights).reshape(batch, 1, 1)
    log_occupied = alpha + beta - emission - log_paths.reshape(batch, 1, 1)
    occupied = torch.exp(torch.clamp(log_occupied, max=0.0))
    inside = (torch.arange(frames)[None, :] < x_lens[:, None]).to(torch.float32)
    gradient = (p - occupied.bmm(one_hot(path, vocabulary))) * inside.unsqueeze(2) * weights
    nll = -(log_paths + (log_blank * inside).sum(1))
    return nll * feasible, gradient


def _injected(frames: int, states: int, x_lens: Tensor, y_lens: Tensor) -> Tensor:
    """[T, 2B, S]: alpha begins in the first two states, beta in each row's last two."""
    batch = x_lens.shape[0]
    alpha = torch.full((frames, 1, states), LOG_ZERO)
    alpha[0, 0, :2] = 0
    t = torch.arange(frames - 1, -1, -1).to(torch.float32).reshape(frames, 1, 1)
    s = torch.arange(states - 1, -1, -1).to(torch.float32).reshape(1, 1, states)
    last_frame = (x_lens.to(torch.float32) - 1).reshape(1, batch, 1)
    # 2 y_lens and 2 y_lens - 1 are both half a state away from 2 y_lens - 0.5
    last_states = (2 * y_lens.to(torch.float32) - 0.5).reshape(1, batch, 1)
    distance = (t - last_frame).abs() + torch.clamp((s - last_states).abs() - 0.5, min=0.0)
    beta = torch.clamp(distance, max=1.0) * LOG_ZERO
    return torch.cat([alpha.expand(frames, batch, states), beta], 1)

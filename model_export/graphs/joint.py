"""The transducer's joint network and its gradient, a few frames at a time.

logits[b, t, u] = W tanh(e[t, b] + q[b, u]) + bias. The tensors [B, T, U1, J] and [B, T, U1, V]
never exist: both passes loop over chunks of frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fedvoice.model_export.graphs.ops import (
    SMALLEST_PROBABILITY,
    Tensors,
    linear,
    one_hot,
    permute,
    scan,
    settled,
)
from fedvoice.model_export.graphs.rnnt_loss import Posteriors

KEPT_SOFTMAX_BYTES = 8 << 20
"""The softmax of the first pass is kept for the second if it fits; otherwise computed again."""


class JointSize(NamedTuple):
    """Fixed sizes: frames T, batch B, label states U1 = U + 1, vocabulary V, frames a chunk."""

    frames: int
    batch: int
    states: int
    vocabulary: int
    chunk: int

    @property
    def chunks(self) -> int:
        return self.frames // self.chunk

    @property
    def rows(self) -> int:
        """Lattice cells of one chunk."""
        return self.chunk * self.batch * self.states

    @property
    def keeps_softmax(self) -> bool:
        cells = self.frames * self.batch * self.states
        return 4 * cells * self.vocabulary <= KEPT_SOFTMAX_BYTES


class JointGradients(NamedTuple):
    """output weight [V, J] and bias [V]; encoded [T*B, J]; predicted [B*U1, J]."""

    weight: Tensor
    bias: Tensor
    encoded: Tensor
    predicted: Tensor


class Joint:
    """One joint at fixed sizes, over encoded [T*B, J] and predicted [B*U1, J], labels y [B, U]."""

    def __init__(
        self,
        size: JointSize,
        parameters: Mapping[str, Tensor],
        encoded: Tensor,
        predicted: Tensor,
        y: Tensor,
    ) -> None:
        self.size = size
        self.joint_size = encoded.shape[1]
        self.weight, self.bias = parameters["output.weight"], parameters["output.bias"]
        # (chunks, frames of a chunk x batch, J): what the loops walk over
        self.encoded = encoded.reshape(size.chunks, size.chunk * size.batch, self.joint_size)
        self.predicted = predicted.reshape(1, size.batch, size.states, self.joint_size)
        self.next_label = functional.pad(y, (0, 1))

    def _hidden(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        """[chunk*B, J] and [1, B, U1, J] -> tanh(e + q) [rows, J]."""
        s = self.size
        spread = encoded.reshape(s.chunk, s.batch, 1, self.joint_size) + predicted
        return torch.tanh(spread.reshape(s.rows, self.joint_size))

    def log_probabilities(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """log P(blank) and log P(next label) [B, T, U1], and the softmax if it is kept."""
        s = self.size
        wanted = self.next_label[None, :, :, None].expand(s.chunk, s.batch, s.states, 1)
        index = wanted.reshape(s.rows, 1).contiguous()

        def body(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
            predicted, to_logits, bias, index = captured
            p = torch.softmax(linear(self._hidden(xs[0], predicted), to_logits) + bias, -1)
            blank = torch.log(torch.clamp(p[:, :1], min=SMALLEST_PROBABILITY))
            emit = torch.log(torch.clamp(p.gather(1, index), min=SMALLEST_PROBABILITY))
            cells = (s.chunk * s.batch, s.states)
            found: Tensors = (blank.reshape(cells).clone(), emit.reshape(cells).clone())
            if s.keeps_softmax:
                found = (*found, p.clone())
            return (carry[0].clone(),), found

        # A loop needs a carried value, though this one carries nothing.
        captured = (self.predicted, self.weight, self.bias, index)
        _, found = scan(body, (torch.zeros(1),), (self.encoded,), captured)
        blank, emit = (self._batch_major(settled(part)) for part in found[:2])
        return blank, emit, found[2] if s.keeps_softmax else None

    def _batch_major(self, cells: Tensor) -> Tensor:
        """[chunks, chunk*B, U1] -> [B, T, U1]."""
        s = self.size
        return permute(cells.reshape(s.frames, s.batch, s.states), 1, 0, 2)

    def _by_chunk(self, cells: Tensor) -> Tensor:
        """[B, T, U1] -> [chunks, rows, 1]."""
        return permute(cells, 1, 0, 2).reshape(self.size.chunks, self.size.rows, 1)

    def gradients(
        self, posteriors: Posteriors, example_weights: Tensor, softmax: Tensor | None
    ) -> JointGradients:
        """Gradients of sum_b example_weights[b] * nll[b]."""
        s, j = self.size, self.joint_size
        weights = example_weights.reshape(s.batch, 1, 1)
        by_blank = self._by_chunk(posteriors.blank * weights)
        by_emit = self._by_chunk(posteriors.emit * weights)
        labels = one_hot(self.next_label, s.vocabulary)
        labels = labels.reshape(1, s.batch, s.states, s.vocabulary)
        blank = one_hot(torch.zeros(1, dtype=torch.int64), s.vocabulary)

        def body(carry: Tensors, xs: Tensors, captured: Tensors) -> tuple[Tensors, Tensors]:
            weight, bias, predicted = carry
            q, labels, blank, to_hidden, ones, over_states, over_chunk = captured[:7]
            hidden = self._hidden(xs[0], q)
            g_blank, g_emit = xs[1], xs[2]
            if softmax is not None:
                p = xs[3]
            else:
                to_logits, logits_bias = captured[7:]
                p = torch.softmax(linear(hidden, to_logits) + logits_bias, -1)
            spread = g_emit.reshape(s.chunk, s.batch, s.states, 1) * labels
            g_logits = p * (g_blank + g_emit) - spread.reshape(s.rows, s.vocabulary)
            g_logits = g_logits - g_blank * blank
            g_hidden = linear(g_logits, to_hidden) * (1 - hidden * hidden)
            g_encoded = over_states.bmm(g_hidden.reshape(s.chunk * s.batch, s.states, j))
            g_logits_t = permute(g_logits, 1, 0)
            outer = g_logits_t.reshape(1, s.vocabulary, s.rows).bmm(hidden.reshape(1, s.rows, j))
            chunk = over_chunk.bmm(g_hidden.reshape(1, s.chunk, s.batch * s.states * j))
            carry = (
                weight + outer.reshape(s.vocabulary, j),
                bias + linear(g_logits_t, ones),
                predicted + chunk.reshape(1, s.batch * s.states * j),
            )
            return carry, (g_encoded.reshape(s.chunk * s.batch, j).clone(),)

        start: Tensors = (
            torch.zeros(s.vocabulary, j),
            torch.zeros(s.vocabulary, 1),
            torch.zeros(1, s.batch * s.states * j),
        )
        xs: Tensors = (self.encoded, by_blank, by_emit)
        captured: Tensors = (
            self.predicted,
            labels,
            blank,
            permute(self.weight, 1, 0),
            torch.ones(1, s.rows),
            torch.ones(s.chunk * s.batch, 1, s.states),
            torch.ones(1, 1, s.chunk),
        )
        if softmax is not None:
            xs = (*xs, softmax)
        else:
            captured = (*captured, self.weight, self.bias)
        (weight, bias, predicted), (encoded,) = scan(body, start, xs, captured)
        return JointGradients(
            weight=settled(weight),
            bias=settled(bias).reshape(s.vocabulary),
            encoded=settled(encoded).reshape(s.frames * s.batch, j),
            predicted=settled(predicted).reshape(s.batch * s.states, j),
        )

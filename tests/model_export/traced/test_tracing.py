"""A module traced with fake tensors in the mode's second run computes what PyTorch does, for other
data and lengths too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torch.nn.utils import rnn
from torchaudio.functional import rnnt_loss

import fedvoice.model_export.traced.rewrites  # noqa: F401  fills the table
from fedvoice.model_export.traced.rewrites.recurrent import recurrence
from fedvoice.model_export.traced.rewriting import Rewriting
from fedvoice.model_export.traced.trace import trace_result
from fedvoice.protocol.errors import FedvoiceError

FRAMES, LABELS, TOKENS = 12, 3, 6


class Packed(nn.Module):
    """A packed recurrent layer with CTC over labels that a mask chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.LSTM(4, 5, bidirectional=True, batch_first=True)
        self.head = nn.Linear(10, TOKENS)

    def forward(self, x: Tensor, lengths: Tensor, y: Tensor) -> Tensor:
        sequence = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        packed, (last, cell) = self.body(sequence)
        hidden, lengths = rnn.pad_packed_sequence(packed, batch_first=True)
        log_probs = functional.log_softmax(self.head(hidden), -1).transpose(0, 1)
        mask = y >= 0
        targets = y.masked_select(mask)
        loss = functional.ctc_loss(log_probs, targets, lengths, mask.sum(1), reduction="sum")
        return loss + (last * last + cell).mean()


class Transducer(nn.Module):
    """Convolutions in front, and a state space for an encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv1d(4, 6, 3, padding=1)
        self.depth = nn.Conv1d(6, 6, 5, padding=2, groups=6)
        self.norm = nn.BatchNorm1d(6)
        self.embedding = nn.Embedding(TOKENS, 6, padding_idx=0)
        self.head = nn.Linear(6, TOKENS)

    def forward(self, x: Tensor, lengths: Tensor, y: Tensor) -> Tensor:
        h = self.norm(functional.silu(self.depth(self.front(x.transpose(1, 2)))))
        h = functional.max_pool1d(h, 2).permute(2, 0, 1)
        h = recurrence(torch.sigmoid(h), h).transpose(0, 1)
        labels = y.clamp(min=1)
        q = self.embedding(functional.pad(labels, (1, 0)))
        logits = self.head(torch.tanh(h.unsqueeze(2) + q.unsqueeze(1)))
        labels, frames, count = labels.int(), (lengths // 2).int(), (y >= 0).sum(1).int()
        return rnnt_loss(logits, labels, frames, count, blank=0, reduction="none").sum()


class Attending(nn.Module):
    """A transformer with a padding mask, masked in place and by assignment."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, TOKENS)

    def forward(self, x: Tensor, lengths: Tensor, y: Tensor) -> Tensor:
        padding = torch.arange(lengths.max()) >= lengths[:, None]
        h = self.body(x[:, : int(lengths.max())], src_key_padding_mask=padding)
        h = h.masked_fill_(padding.unsqueeze(2), 0.0)
        weights = torch.ones(h.shape[:2])
        weights[padding] = 0
        pooled = torch.cat([h.sum(1) / weights.sum(1, keepdim=True), h.std(1)], 1)
        return functional.cross_entropy(self.head(pooled), y[:, 0])


def _batch(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and labels of other lengths each time, the longest as long as the bucket."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.cat([torch.randint(8, FRAMES, (2,), generator=g), torch.tensor([FRAMES])])
    y = torch.randint(1, TOKENS, (3, LABELS), generator=g)
    counts = torch.tensor([LABELS, 1 + seed % LABELS, 2])
    y = torch.where(torch.arange(LABELS) < counts[:, None], y, -100)
    return torch.randn(3, FRAMES, 4, generator=g), lengths, y


def _step(module: nn.Module, tensors: Sequence[Tensor], values: list[object]) -> list[Tensor]:
    """Loss and gradients in the mode's second run; parameters first."""
    names = [name for name, _ in module.named_parameters()]
    leaves = [t.detach().requires_grad_() for t in tensors[: len(names)]]
    with torch.enable_grad(), Rewriting([], values) as mode:
        named = dict(zip(names, leaves, strict=True))
        loss = mode.latest(functional_call(module, named, tuple(tensors[len(names) :])))
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def _traced(module: nn.Module, batch: Sequence[Tensor]) -> GraphModule:
    with torch.no_grad(), Rewriting() as first:
        module(*batch)
    return make_fx(
        lambda *tensors: _step(module, tensors, first.values),
        tracing_mode="fake",
        _allow_non_fake_inputs=True,
    )(*(p.detach() for p in module.parameters()), *batch)


@pytest.mark.parametrize(("kind", "loops"), [(Packed, 5), (Transducer, 3), (Attending, 0)])
def test_a_traced_module_computes_loss_and_gradients(kind: type[nn.Module], loops: int) -> None:
    torch.manual_seed(0)
    module = kind()
    graph = _traced(module, _batch(0))
    scans = [n for n in graph.graph.nodes if n.target is torch.ops.higher_order.scan]
    assert len(scans) == loops
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm1d)):
        norm.eval()  # as it is in the program
    for seed in range(3):
        batch = _batch(seed)
        found = graph(*(p.detach() for p in module.parameters()), *batch)
        loss = module(*batch)
        wanted = [loss, *torch.autograd.grad(loss, list(module.parameters()))]
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


class LayerDrop(nn.Module):
    """A layer that is there where `keeps` says so."""

    def __init__(self, keeps: Callable[[], bool]) -> None:
        super().__init__()
        self.layer, self.keeps = nn.Linear(4, 4), keeps

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x) if self.keeps() else x


def traced_with(keeps: Callable[[], bool]) -> GraphModule:
    module, x = LayerDrop(keeps), torch.ones(2, 4)
    whole = dict[str, Tensor]  # nothing of these trains
    return trace_result(module, {}, [x], lambda module, inputs: module(*inputs), whole).graph


KNOWN: dict[str, Callable[[], bool]] = {
    "torchaudio's": lambda: not torch.rand(1).item() <= 0.0,
    "transformers'": lambda: bool(torch.rand([]) >= 0.0),
    "never": lambda: torch.rand(()).item() >= 1,
    "SpecAugment's own check": lambda: bool((torch.rand(1) * 3).long() < 3),
}
DRAWN: dict[str, Callable[[], bool]] = {
    "torchaudio's": lambda: not torch.rand(1).item() <= 0.1,
    "transformers'": lambda: bool(torch.rand([]) >= 0.1),
    "in the middle": lambda: bool(torch.bernoulli(torch.tensor(0.5))),
    "a choice": lambda: int(torch.rand(8).argmax()) != 0,
    "a number": lambda: torch.rand(1).item() * 3 > 1,
    "as a float": lambda: float(torch.rand(1)) > 0.1,
    "a whole number": lambda: int(torch.randint(3, (1,))) == 2,
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_draw_whose_answer_is_known_may_be_read(name: str) -> None:
    x = torch.randn(2, 4)
    found = traced_with(KNOWN[name])(x, torch.rand(1))
    assert torch.equal(found, x) == (name == "never")


@pytest.mark.parametrize("name", DRAWN)
def test_a_draw_that_python_reads_is_refused_by_line(name: str) -> None:
    line = DRAWN[name].__code__.co_firstlineno
    with pytest.raises(FedvoiceError, match="Random numbers that Python reads") as caught:
        traced_with(DRAWN[name])
    assert caught.value.where == f"{Path(__file__)}:{line}"
    assert "Set its rate to 0" in caught.value.next_step

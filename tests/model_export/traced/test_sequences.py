"""Recurrent layers, attention and sequence losses inside the mode are plain PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import rnn
from torchaudio.functional import rnnt_loss

from fedvoice.model_export.traced.rewrites.recurrent import recurrence
from tests.model_export.traced.laws import agrees, randn

KINDS = [("lstm", nn.LSTM, {}), ("gru", nn.GRU, {}), ("rnn", nn.RNN, {})]
RELU = ("rnn", nn.RNN, {"nonlinearity": "relu"})


def _parameters(layer: nn.Module) -> list[Tensor]:
    return [p.detach() for p in layer.parameters()]


def _called(layer: nn.Module, parameters: tuple[Tensor, ...], *inputs: Any) -> Any:
    named = dict(zip([name for name, _ in layer.named_parameters()], parameters, strict=True))
    return torch.func.functional_call(layer, named, inputs)


def _flat(result: Any) -> tuple[Tensor, ...]:
    hidden, last = result
    return (hidden, *last) if isinstance(last, tuple) else (hidden, last)


@pytest.mark.parametrize(("name", "kind", "options"), [*KINDS, RELU])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"num_layers": 2, "bidirectional": True, "batch_first": True},
        {"bias": False, "bidirectional": True},
    ],
)
def test_recurrent_layers(name: str, kind: Any, options: Any, more: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = kind(3, 4, **options, **more).double()
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    x = randn(5, 2, 3)
    x = x.transpose(0, 1) if layer.batch_first else x

    def without_state(x: Tensor, *parameters: Tensor) -> Any:
        return _flat(_called(layer, parameters, x))

    def with_state(x: Tensor, h: Tensor, c: Tensor, *parameters: Tensor) -> Any:
        state = (h, c) if name == "lstm" else h * c
        return _flat(_called(layer, parameters, x, state))

    agrees(without_state, x, *_parameters(layer), rewritten=name)
    states = randn(rows, 2, 4, seed=1), randn(rows, 2, 4, seed=2)
    agrees(with_state, x, *states, *_parameters(layer), rewritten=name)


@pytest.mark.parametrize(("name", "kind", "options"), KINDS)
@pytest.mark.parametrize("lengths", [[5, 3, 1], [2, 5, 4], [3, 4, 4]])
@pytest.mark.parametrize("total_length", [None, 6])
def test_packed_sequences(
    name: str, kind: Any, options: Any, lengths: list[int], total_length: int | None
) -> None:
    torch.manual_seed(0)
    layer = kind(3, 4, num_layers=2, bidirectional=True, batch_first=True, **options).double()
    sorted_already = lengths == sorted(lengths, reverse=True)

    def run(x: Tensor, h: Tensor, c: Tensor, *parameters: Tensor) -> Any:
        sequence = rnn.pack_padded_sequence(
            x, torch.tensor(lengths), batch_first=True, enforce_sorted=sorted_already
        )
        state = (h, c) if name == "lstm" else h * c
        packed, last = _called(layer, parameters, sequence, state)
        padded, found = rnn.pad_packed_sequence(
            packed, batch_first=True, padding_value=0.5, total_length=total_length
        )
        assert found.tolist() == lengths
        return _flat((padded, last))

    inputs = randn(3, 5, 3), randn(4, 3, 4, seed=1), randn(4, 3, 4, seed=2)
    agrees(run, *inputs, *_parameters(layer), rewritten=name)


def test_recurrence_of_state_spaces_is_its_loop() -> None:
    agrees(recurrence, randn(6, 2, 3), randn(6, 2, 3, seed=1), rewritten="recurrence")
    agrees(recurrence, randn(6, 2, 1), randn(6, 1, 3, seed=1), rewritten="recurrence")


@pytest.mark.parametrize("mask", [None, "bool", "float", "causal"])
def test_attention(mask: str | None) -> None:
    q, k, v = randn(2, 4, 5, 6), randn(2, 2, 5, 6, seed=1), randn(2, 2, 5, 3, seed=2)
    options: dict[str, Any] = {"enable_gqa": True, "scale": 0.3}
    if mask == "causal":
        options["is_causal"] = True
    elif mask:
        taken = (torch.arange(25).reshape(5, 5) % 3) > 0
        added = torch.zeros(5, 5).double().masked_fill(~taken, float("-inf"))
        options["attn_mask"] = taken if mask == "bool" else added
    agrees(
        lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, **options),
        q, k, v, rewritten="attention",
    )  # fmt: skip


@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention_is_met_by_its_parts(need_weights: bool) -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(6, 2, batch_first=True).double()
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])

    def attended(x: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip([n for n, _ in layer.named_parameters()], parameters, strict=True))
        options = {"key_padding_mask": padding, "need_weights": need_weights}
        result: Tensor = torch.func.functional_call(layer, named, (x, x, x), options)[0]
        return result

    met = "softmax" if need_weights else "attention"
    agrees(attended, randn(2, 5, 6), *_parameters(layer), rewritten=met)


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_ctc(blank: int, reduction: str) -> None:
    targets = torch.tensor([[1, 1, 3], [4, 3, 3], [3, 1, 1]])
    x_lens, y_lens = torch.tensor([9, 7, 9]), torch.tensor([3, 2, 0])

    def loss(logits: Tensor) -> Tensor:
        log_probs = functional.log_softmax(logits, -1)
        return functional.ctc_loss(log_probs, targets, x_lens, y_lens, blank, reduction)

    x = randn(9, 3, 5, dtype=torch.float32)
    agrees(loss, x, rewritten="ctc_loss", tolerance=1e-5)


def test_ctc_takes_targets_that_a_mask_chose() -> None:
    labels = torch.tensor([[1, 1, 3], [4, 3, -100]])
    mask = labels >= 0

    def loss(logits: Tensor) -> Tensor:
        log_probs = functional.log_softmax(logits, -1)
        lengths = torch.tensor([8, 6])
        return functional.ctc_loss(log_probs, labels.masked_select(mask), lengths, mask.sum(1))

    x = randn(8, 2, 5, dtype=torch.float32)
    agrees(loss, x, rewritten="masked_select", tolerance=1e-5)


@pytest.mark.parametrize("blank", [-1, 0, 2])
@pytest.mark.parametrize("options", [{}, {"clamp": 0.05}, {"reduction": "none"}])
def test_transducer_loss(blank: int, options: dict[str, Any]) -> None:
    targets = torch.tensor([[1, 1, 3], [3, 1, 1]], dtype=torch.int32)
    lengths = torch.tensor([6, 4], dtype=torch.int32), torch.tensor([3, 1], dtype=torch.int32)

    def loss(logits: Tensor) -> Tensor:
        result: Tensor = rnnt_loss(logits, targets, *lengths, blank=blank, **options)
        return result

    x = randn(2, 6, 4, 5, dtype=torch.float32)
    agrees(loss, x, rewritten="rnnt_loss", tolerance=1e-5)


def test_transducer_loss_of_log_probabilities() -> None:
    targets = torch.tensor([[1, 1, 3], [3, 1, 1]], dtype=torch.int32)
    lengths = torch.tensor([6, 4], dtype=torch.int32), torch.tensor([3, 1], dtype=torch.int32)

    def loss(logits: Tensor) -> Tensor:
        log_probs = functional.log_softmax(logits, -1)
        result: Tensor = rnnt_loss(log_probs, targets, *lengths, fused_log_softmax=False)
        return result

    agrees(loss, randn(2, 6, 4, 5, dtype=torch.float32), rewritten="rnnt_loss", tolerance=1e-5)

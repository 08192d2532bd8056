"""Recurrent layers as ONNX can have them: the same values, packed or not, of any length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from fedvoice.model_export.outgoing.onnx_file import OnnxSource, Session, write_onnx
from fedvoice.model_export.outgoing.recurrent import exportable_recurrence
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

LENGTHS = torch.tensor([6, 9, 1, 4])


def packed(module: nn.RNNBase, x: Tensor, lengths: Tensor, states: Any) -> list[Tensor]:
    rows = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    output, last = module(rows, states)
    padded, counts = pad_packed_sequence(output, batch_first=True, padding_value=2.0)
    return [padded, counts, *(last if isinstance(last, tuple) else (last,))]


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("both_ways", [False, True])
def test_the_forms_that_are_exported_compute_the_same(make: Any, both_ways: bool) -> None:
    """Outputs and last states, from states that are given, of packed and of full rows."""
    module = make(5, 7, 2, batch_first=True, bidirectional=both_ways)
    first = torch.randn(4 if both_ways else 2, 4, 7)
    states = (first, torch.randn_like(first)) if make is nn.LSTM else first
    x = torch.randn(4, 9, 5)
    with torch.no_grad():
        for run in (lambda: packed(module, x, LENGTHS, states), lambda: [module(x, states)[0]]):
            wanted = run()
            with exportable_recurrence():
                found = run()
            for a, b in zip(found, wanted, strict=True):
                torch.testing.assert_close(a, b)


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.LSTM(5, 7, batch_first=True, bidirectional=True)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        with exportable_recurrence():
            output, counts, *_ = packed(self.body, features, lengths, None)
        return output, counts.clone()


def source(graph: nn.Module) -> OnnxSource:
    inputs = {"features": torch.randn(3, 10, 5), "lengths": torch.tensor([10, 9, 10])}
    axes: dict[str, tuple[int | str, ...]] = {"features": ("B", "T", 5), "lengths": ("B",)}
    return OnnxSource(graph, inputs, {**axes, "logits": ("B", "T", 14), "counts": ("B",)})


@pytest.mark.slow
def test_packed_rows_of_any_length_run_in_onnxruntime(tmp_path: Path) -> None:
    """Twice in a process: the exporter's second file had the first one's lengths once."""
    graph = Packed().eval()
    for _ in range(2):
        session = Session(write_onnx(source(graph), tmp_path / "model.onnx"))
        x, lengths = torch.randn(2, 8, 5), torch.tensor([5, 8])
        with torch.no_grad():
            wanted, _ = graph(x, lengths)
        found = session.run({"features": x.numpy(), "lengths": lengths.numpy()})
        np.testing.assert_allclose(found[0], wanted, atol=1e-5)
        assert found[1].tolist() == [5, 8]


@pytest.mark.slow
def test_a_file_of_one_length_says_at_which_it_ends(tmp_path: Path) -> None:
    class Loop(nn.Module):
        def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
            return features @ torch.ones(5, 14), lengths.clone()

    session = Session(write_onnx(source(Loop()), tmp_path / "model.onnx"))
    with pytest.raises(FedvoiceError, match=r"features \[2, 8, 4\]") as caught:
        session.run({"features": np.zeros((2, 8, 4), np.float32), "lengths": np.array([8, 8])})
    assert caught.value.code is ErrorCode.RELEASE_CHECK

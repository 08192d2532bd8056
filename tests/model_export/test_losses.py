"""The losses on lattices small enough to count paths by hand."""

from __future__ import annotations

import math

import pytest
import torch

from fedvoice.model_export.graphs.ctc_loss import ctc_loss_gradient
from fedvoice.model_export.graphs.rnnt_loss import LatticeTables, lattice_posteriors


def test_two_frames_one_label_has_two_paths_of_an_eighth() -> None:
    # label then blank blank, or blank label blank: each takes three fair coins.
    half = torch.full((1, 2, 2), math.log(0.5))
    found = lattice_posteriors(
        half, half, torch.tensor([2]), torch.tensor([1]), LatticeTables(2, 2)
    )
    assert found.nll.item() == pytest.approx(-math.log(2 / 8))
    # The label is emitted in the first or in the second frame, with equal right.
    assert found.emit[0, :, 0].tolist() == pytest.approx([0.5, 0.5])
    # The first frame is left before the label in one path and after it in the other.
    assert found.blank[0].tolist() == [pytest.approx([0.5, 0.5]), pytest.approx([0.0, 1.0])]


def test_a_padding_row_is_one_blank() -> None:
    log_blank = torch.log(torch.tensor([[[0.25, 0.5], [0.5, 0.5]]]))
    found = lattice_posteriors(
        log_blank, log_blank, torch.tensor([1]), torch.tensor([0]), LatticeTables(2, 2)
    )
    assert found.nll.item() == pytest.approx(-math.log(0.25))
    assert found.emit.abs().max().item() == 0


def test_ctc_of_one_label_in_two_frames_has_three_paths_of_a_quarter() -> None:
    # a a, a blank, blank a
    logits = torch.zeros(1, 2, 2)
    nll, gradient = ctc_loss_gradient(
        logits, torch.tensor([[1]]), torch.tensor([2]), torch.tensor([1]), torch.ones(1)
    )
    assert nll.item() == pytest.approx(-math.log(3 / 4))
    # In each frame two of the three paths say a: posterior 2/3 against probability 1/2.
    assert gradient[0, :, 1].tolist() == pytest.approx([0.5 - 2 / 3, 0.5 - 2 / 3])


def test_ctc_labels_that_do_not_fit_cost_nothing() -> None:
    logits = torch.randn(1, 2, 3)
    nll, gradient = ctc_loss_gradient(
        logits, torch.tensor([[1, 1]]), torch.tensor([2]), torch.tensor([2]), torch.ones(1)
    )
    assert nll.item() == 0
    assert gradient.abs().max().item() == 0

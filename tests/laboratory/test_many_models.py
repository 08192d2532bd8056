"""Many clients at once compute what PyTorch's own modules and autograd give for each of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from laboratory.fast.models import ManyModel, OneModel, has_many
from laboratory.fast.scan import lstm_scan
from protocol.task import TaskManifest
from tests.laboratory.tiny import MODELS, some_weights, tiny_task

CLIENTS, ROWS, FRAMES = 3, 4, 7


def test_the_recurrence_is_that_of_an_lstm() -> None:
    """Inputs that are projected already: the input weights are the identity."""
    torch.manual_seed(0)
    hidden, frames, batch = 3, 5, 2
    module = nn.LSTM(4 * hidden, hidden, batch_first=True, bias=False)
    with torch.no_grad():
        module.weight_ih_l0.copy_(torch.eye(4 * hidden))
    projected = torch.randn(1, frames, batch, 4 * hidden)
    with torch.no_grad():
        wanted, _ = module(projected[0].transpose(0, 1))
        found = lstm_scan(projected, module.weight_hh_l0[None])
    torch.testing.assert_close(found[0].transpose(0, 1), wanted)


@pytest.mark.parametrize("frames", [1, 4])
def test_law_8_the_recurrences_gradient_by_hand_is_that_of_differences(frames: int) -> None:
    torch.manual_seed(1)
    projected = torch.randn(2, frames, 3, 8, dtype=torch.float64, requires_grad=True)
    recurrent = torch.randn(2, 8, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lstm_scan, (projected, recurrent))


def a_batch(manifest: TaskManifest, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Ragged rows for every client, one of them only there to fill up."""
    random = np.random.default_rng(seed)
    stacked = manifest.features.stack * manifest.features.mel_bins
    x = torch.from_numpy(random.normal(size=(CLIENTS, ROWS, FRAMES, stacked)).astype("f4"))
    y_lens = torch.from_numpy(random.integers(0, 4, size=(CLIENTS, ROWS)))
    y = torch.from_numpy(random.integers(1, 6, size=(CLIENTS, ROWS, 3)))
    y *= torch.arange(3) < y_lens[..., None]
    x_lens = torch.from_numpy(random.integers(5, FRAMES + 1, size=(CLIENTS, ROWS)))
    weights = torch.from_numpy(random.uniform(0.1, 1, size=(CLIENTS, ROWS)).astype("f4"))
    x_lens[1, -1], y_lens[1, -1], y[1, -1], weights[1, -1] = 1, 0, 0, 0
    return x, y, x_lens, y_lens, weights


@pytest.mark.parametrize("kind", MODELS)
def test_law_8_every_client_has_the_loss_and_gradient_of_its_own_model(kind: str) -> None:
    manifest = tiny_task(kind).manifest
    many, one = ManyModel(manifest, CLIENTS), OneModel(manifest)
    for client in range(CLIENTS):
        many.weights[client] = torch.from_numpy(some_weights(manifest, seed=client))
    first, second = a_batch(manifest, 0), a_batch(manifest, 1)
    losses = many.compute_gradients(*first, add=False)
    alone = many.gradient.clone()
    more = many.compute_gradients(*second, add=True)
    for client in range(CLIENTS):
        one.weights[0] = many.weights[client]
        own = [part[client : client + 1] for part in first]
        wanted = one.compute_gradients(*own, add=False)
        torch.testing.assert_close(losses[client : client + 1], wanted, rtol=1e-5, atol=1e-6)
        demand_close(alone[client], one.gradient[0])
        own = [part[client : client + 1] for part in second]
        wanted = one.compute_gradients(*own, add=True)
        torch.testing.assert_close(more[client : client + 1], wanted, rtol=1e-5, atol=1e-6)
        demand_close(many.gradient[client], one.gradient[0])


def test_fewer_clients_than_there_is_room_for_leave_the_others_alone() -> None:
    manifest = tiny_task().manifest
    many = ManyModel(manifest, CLIENTS)
    many.weights[:] = torch.from_numpy(some_weights(manifest, seed=0))
    batch = a_batch(manifest, 0)
    many.gradient.fill_(7.0)
    losses = many.compute_gradients(*(part[:2] for part in batch), add=False)
    assert losses.shape == (2,)
    assert (many.gradient[2] == 7.0).all()
    for spec in manifest.parameters.parameters:
        assert not (many.gradient[:2, spec.place] == 7.0).any()


def test_padding_of_the_flat_vector_has_no_gradient() -> None:
    manifest = tiny_task().manifest
    many = ManyModel(manifest, CLIENTS)
    many.compute_gradients(*a_batch(manifest, 0), add=False)
    outside = torch.ones(manifest.parameters.total_size, dtype=torch.bool)
    for spec in manifest.parameters.parameters:
        outside[spec.place] = False
    assert outside.any()
    assert not many.gradient[:, outside].any()


def test_models_without_a_batched_form_train_one_after_the_other() -> None:
    assert all(has_many(tiny_task(kind).manifest) for kind in MODELS)
    manifest = tiny_task("2nn").manifest.model_copy(
        update={"model_kind": "char-lstm", "model": {"layers": 1}}
    )
    assert not has_many(manifest)


def demand_close(found: Tensor, wanted: Tensor) -> None:
    assert torch.linalg.vector_norm(wanted) > 0
    difference = torch.linalg.vector_norm(found - wanted) / torch.linalg.vector_norm(wanted)
    assert difference < 1e-5

"""Many clients at once compute what PyTorch's own modules and autograd give for each of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.models.batched_layers import Weight, affine, lstm_layer
from fedvoice.protocol.task import TaskManifest
from fedvoice.simulation.fast.models import (
    GROUP_WEIGHTS_BYTES,
    ManyModel,
    OneModel,
    best_group,
    has_many,
)
from tests.laboratory.tiny import MODELS, some_weights, tiny_task

CLIENTS, ROWS, FRAMES = 3, 4, 7


def of_ones(value: Tensor, add: bool) -> Weight:
    """Gradients start at one: whether something was added to them shows."""
    return Weight(value.detach(), torch.ones_like(value), add)


def demand_gradient(weight: Weight, client: int, wanted: Tensor | None) -> None:
    assert wanted is not None
    torch.testing.assert_close(weight.gradient[client] - float(weight.add), wanted)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("frames", [1, 4])
def test_law_8_the_layer_by_hand_is_pytorchs_lstm(frames: int, add: bool) -> None:
    torch.manual_seed(0)
    clients, rows, size, hidden = 2, 3, 5, 4
    modules = [nn.LSTM(size, hidden, batch_first=True).double() for _ in range(clients)]
    for module in modules:
        nn.init.zeros_(module.bias_hh_l0)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")
    weights = [of_ones(torch.stack([getattr(m, name) for m in modules]), add) for name in names]
    x = torch.randn(clients, rows, frames, size, dtype=torch.float64, requires_grad=True)
    found = lstm_layer(x, *weights)
    upstream = torch.randn_like(found)
    found.backward(upstream)
    assert x.grad is not None
    for client, module in enumerate(modules):
        own = x[client].detach().requires_grad_()
        wanted, _ = module(own)
        torch.testing.assert_close(found[client], wanted)
        wanted.backward(upstream[client])
        torch.testing.assert_close(x.grad[client], own.grad)
        for weight, name in zip(weights, names, strict=True):
            demand_gradient(weight, client, getattr(module, name).grad)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("with_bias", [True, False])
def test_law_8_the_affine_layer_by_hand_is_pytorchs(with_bias: bool, add: bool) -> None:
    torch.manual_seed(1)
    shapes = [(2, 4, 5), (2, 4)][: 1 + with_bias]
    weights = [of_ones(torch.randn(shape, dtype=torch.float64), add) for shape in shapes]
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    found = affine(x, *weights)
    upstream = torch.randn_like(found)
    found.backward(upstream)
    assert x.grad is not None
    for client in range(2):
        own = x[client].detach().requires_grad_()
        leaves = [weight.value[client].clone().requires_grad_() for weight in weights]
        wanted = nn.functional.linear(own, *leaves)
        torch.testing.assert_close(found[client], wanted)
        wanted.backward(upstream[client])
        torch.testing.assert_close(x.grad[client], own.grad)
        for weight, leaf in zip(weights, leaves, strict=True):
            demand_gradient(weight, client, leaf.grad)


def a_batch(manifest: TaskManifest, seed: int) -> TensorBatch:
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
    return TensorBatch(x, y, x_lens, y_lens, weights)


@pytest.mark.parametrize("kind", MODELS)
def test_law_8_every_client_has_the_loss_and_gradient_of_its_own_model(kind: str) -> None:
    manifest = tiny_task(kind).manifest
    many, one = ManyModel(manifest, CLIENTS), OneModel(manifest)
    for client in range(CLIENTS):
        many.weights[client] = torch.from_numpy(some_weights(manifest, seed=client))
    first, second = a_batch(manifest, 0), a_batch(manifest, 1)
    losses = many.compute_gradients(first, add=False)
    alone = many.gradient.clone()
    more = many.compute_gradients(second, add=True)
    for client in range(CLIENTS):
        one.weights[0] = many.weights[client]
        own = first.of(slice(client, client + 1))
        wanted = one.compute_gradients(own, add=False)
        torch.testing.assert_close(losses[client : client + 1], wanted, rtol=1e-5, atol=1e-6)
        demand_close(alone[client], one.gradient[0])
        own = second.of(slice(client, client + 1))
        wanted = one.compute_gradients(own, add=True)
        torch.testing.assert_close(more[client : client + 1], wanted, rtol=1e-5, atol=1e-6)
        demand_close(many.gradient[client], one.gradient[0])


def test_fewer_clients_than_there_is_room_for_leave_the_others_alone() -> None:
    manifest = tiny_task().manifest
    many = ManyModel(manifest, CLIENTS)
    many.weights[:] = torch.from_numpy(some_weights(manifest, seed=0))
    batch = a_batch(manifest, 0)
    many.gradient.fill_(7.0)
    losses = many.compute_gradients(batch.of(slice(2)), add=False)
    assert losses.shape == (2,)
    assert (many.gradient[2] == 7.0).all()
    for spec in manifest.parameters.parameters:
        assert not (many.gradient[:2, spec.place] == 7.0).any()


def test_padding_of_the_flat_vector_has_no_gradient() -> None:
    manifest = tiny_task().manifest
    many = ManyModel(manifest, CLIENTS)
    many.compute_gradients(a_batch(manifest, 0), add=False)
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


def test_larger_weights_train_in_smaller_groups() -> None:
    small = tiny_task().manifest
    assert best_group(small) == 8
    floats = GROUP_WEIGHTS_BYTES // 4
    for size, clients in ((floats // 4, 4), (floats // 4 + 4, 2), (floats + 4, 1)):
        table = small.parameters.model_copy(update={"total_size": size})
        assert best_group(small.model_copy(update={"parameters": table})) == clients


def demand_close(found: Tensor, wanted: Tensor) -> None:
    assert torch.linalg.vector_norm(wanted) > 0
    difference = torch.linalg.vector_norm(found - wanted) / torch.linalg.vector_norm(wanted)
    assert difference < 1e-5

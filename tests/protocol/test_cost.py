"""Law 7, the arithmetic: CFMQ against vectors worked out from the paper's formula."""

import pytest

from fedvoice.protocol.cost import analytic_cfmq, gigabytes, local_steps, training_memory_bytes


@pytest.mark.parametrize(
    ("examples_per_client", "batch_size", "alpha", "steps", "terabytes"),
    [
        (120.3, 16, 1, 7.51875, 1183.568),
        (32, 16, 1, 2, 406.528),
        (32, 16, 0, 2, 124.928),
        (1, 1, 1, 1, 265.728),
    ],
)
def test_law_7_cfmq_vectors(examples_per_client, batch_size, alpha, steps, terabytes):
    clients = 128
    shape = {
        "local_epochs": 1,
        "round_examples": examples_per_client * clients,
        "batch_size": batch_size,
        "clients": clients,
    }
    assert local_steps(**shape) == pytest.approx(steps)
    cost = analytic_cfmq(
        rounds=1000, payload_bytes=0.976e9, memory_bytes=1.1e9, alpha=alpha, **shape
    )
    assert cost.total_bytes / 1e12 == pytest.approx(terabytes, abs=5e-4)


def test_the_gradient_is_counted_once_inside_the_arena():
    assert training_memory_bytes(weights_bytes=10, optimizer_state_bytes=5, arena_bytes=30) == 45


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0.00"),
        (12_345_678_900, "12.35"),
        (1e8, "0.10"),
        (4_560_000, "0.0046"),
        (912, "0.00000091"),
    ],
)
def test_a_small_cost_in_gigabytes_is_never_shown_as_nothing(count, shown):
    assert gigabytes(count) == shown

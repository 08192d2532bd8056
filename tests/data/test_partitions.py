"""Partitions: every example has one client, and each rule does what its name says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvoice.data.partitions import by_group, dirichlet, iid, shards, sorted_by
from fedvoice.protocol.engine import Int64Array
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

labels_of = st.lists(st.integers(0, 4), min_size=1, max_size=60)


def demand_each_once(parts: Sequence[Int64Array], count: int) -> None:
    indices = np.concatenate([np.zeros(0, np.int64), *parts])
    assert sorted(indices.tolist()) == list(range(count))
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)


@given(labels_of, st.data(), st.integers(0, 3))
def test_every_example_is_dealt_once_and_the_seed_decides(
    labels: list[int], data: st.DataObject, seed: int
) -> None:
    clients = data.draw(st.integers(1, len(labels)))
    each = data.draw(st.integers(1, len(labels) // clients))
    rules = (
        lambda: iid(len(labels), clients, seed),
        lambda: shards(labels, clients, each, seed),
        lambda: sorted_by(labels, clients),
        lambda: dirichlet(labels, clients, 0.5, seed),
    )
    for rule in rules:
        parts = rule()
        assert len(parts) == clients
        demand_each_once(parts, len(labels))
        assert [p.tolist() for p in parts] == [p.tolist() for p in rule()]
    groups = by_group(labels)
    assert len(groups) == len(set(labels))
    demand_each_once(groups, len(labels))


def test_another_seed_deals_otherwise() -> None:
    labels = np.arange(100) % 10
    for rule in (
        lambda seed: iid(100, 5, seed),
        lambda seed: shards(labels, 5, 2, seed),
        lambda seed: dirichlet(labels, 5, 1.0, seed),
    ):
        assert any(a.tolist() != b.tolist() for a, b in zip(rule(0), rule(1), strict=True))


def test_two_shards_a_client_are_at_most_two_labels() -> None:
    # 10 labels x 20 examples in 20 shards of 10: every shard has one label.
    labels = np.arange(200) % 10
    parts = shards(labels, 10, 2, seed=0)
    assert [len(part) for part in parts] == [20] * 10
    assert all(len(set(labels[part])) <= 2 for part in parts)


def test_iid_parts_are_equal_but_for_one() -> None:
    assert sorted(len(part) for part in iid(11, 4, seed=0)) == [2, 3, 3, 3]


def test_sorting_gives_each_client_neighbours() -> None:
    parts = sorted_by([5, 1, 3, 1], 2)
    assert [part.tolist() for part in parts] == [[1, 3], [0, 2]]


def test_groups_come_in_the_order_of_their_values() -> None:
    assert [part.tolist() for part in by_group(["b", "a", "b"])] == [[1], [0, 2]]
    assert by_group([]) == []


def test_alpha_turns_the_dial_from_one_label_to_all() -> None:
    labels = np.arange(4000) % 4

    def largest_share(alpha: float) -> float:
        """Mean over clients of the share of their commonest label."""
        parts = [part for part in dirichlet(labels, 10, alpha, seed=0) if len(part)]
        return float(np.mean([np.bincount(labels[p]).max() / len(p) for p in parts]))

    assert largest_share(0.01) > 0.8
    assert largest_share(1000.0) < 0.3


def test_a_label_that_occurs_once_goes_to_any_client() -> None:
    """600 different sentences to 10 clients: binomial sizes, 60 on average, whatever alpha is."""
    labels = [f"sentence number {i}" for i in range(600)]
    for alpha in (0.5, 10.0, 1000.0):
        sizes = [len(part) for part in dirichlet(labels, 10, alpha, seed=0)]
        assert all(60 - 4 * 7.35 < size < 60 + 4 * 7.35 for size in sizes), sizes


def test_rare_labels_go_to_all_clients_alike() -> None:
    """Three examples a label and ten clients: no place in the list of clients is favoured."""
    labels = np.arange(3000) % 1000
    sizes = [len(part) for part in dirichlet(labels, 10, 1000.0, seed=1)]
    assert max(abs(size - 300) for size in sizes) < 4 * 15


def test_of_a_common_label_each_client_has_its_proportion() -> None:
    for seed in range(5):
        parts = dirichlet(np.zeros(1000), 8, 1.0, seed)
        random = np.random.default_rng(seed)
        random.permutation(1000)
        shares = random.dirichlet(np.full(8, 1.0)) * 1000
        assert all(abs(len(p) - share) < 1 for p, share in zip(parts, shares, strict=True))


def test_refusals_say_the_sizes() -> None:
    with pytest.raises(FedvoiceError, match="50 clients x 2 shards = 100 shards of 60 examples"):
        shards(np.zeros(60), 50, 2, 0)
    with pytest.raises(FedvoiceError, match="61 clients for 60 examples"):
        iid(60, 61, 0)


def test_impossible_deals_are_refused() -> None:
    rules = (
        lambda: iid(3, 4, 0),
        lambda: iid(3, 0, 0),
        lambda: shards([1, 2, 3], 2, 2, 0),
        lambda: sorted_by([1], 2),
        lambda: dirichlet([1], 0, 1.0, 0),
        lambda: dirichlet([1], 1, 0.0, 0),
    )
    for rule in rules:
        with pytest.raises(FedvoiceError) as caught:
            rule()
        assert caught.value.code is ErrorCode.BAD_CONFIG

"""Partitions: pure functions from labels to one index array a client.

Every function assigns each index 0..n-1 to exactly one client, returns ascending int64 arrays, one
a client, and is deterministic for a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fedvoice.protocol.engine import Int64Array
from fedvoice.protocol.errors import ErrorCode, FedvoiceError


def iid(examples: int, clients: int, seed: int) -> list[Int64Array]:
    """Shuffle, then split into parts whose sizes differ by one at most.

    Raises:
        FedvoiceError: `bad-config` if there are more clients than examples.
    """
    _demand_enough(examples, clients)
    order = np.random.default_rng(seed).permutation(examples)
    return _ascending(np.array_split(order, clients))


def shards(
    labels: npt.ArrayLike, clients: int, shards_per_client: int, seed: int
) -> list[Int64Array]:
    """The pathological partition of McMahan et al. 2016 (arXiv 1602.05629, section 3).

    Examples are sorted by label and cut into clients * shards_per_client equal shards; each client
    gets `shards_per_client` of them at random, and so has examples of few labels only.

    Args:
        labels: [n].

    Raises:
        FedvoiceError: `bad-config` if there are more shards than examples.
    """
    values = np.asarray(labels)
    count = clients * shards_per_client
    if not 1 <= count <= len(values):
        raise _bad_config(
            "shards_per_client",
            f"{clients} clients x {shards_per_client} shards = {count} shards of "
            f"{len(values)} examples",
            "one example a shard at least",
        )
    pieces = np.array_split(np.argsort(values, kind="stable"), count)
    order = np.random.default_rng(seed).permutation(count).reshape(clients, shards_per_client)
    return _ascending([np.concatenate([pieces[i] for i in row]) for row in order])


def sorted_by(keys: npt.ArrayLike, clients: int) -> list[Int64Array]:
    """Sort by key (stable) and split into equal contiguous parts. Nothing is random.

    Raises:
        FedvoiceError: `bad-config` if there are more clients than examples.
    """
    values = np.asarray(keys)
    _demand_enough(len(values), clients)
    return _ascending(np.array_split(np.argsort(values, kind="stable"), clients))


def dirichlet(labels: npt.ArrayLike, clients: int, alpha: float, seed: int) -> list[Int64Array]:
    """Split each label's examples in proportions drawn from Dirichlet(alpha, ..., alpha).

    Small alpha: nearly every label belongs to one client; large alpha: nearly IID. Parts differ
    in size and may be empty. (Yurochkin et al. 2019, arXiv 1905.12022, section 4.)

    The examples of a label are drawn systematically (Madow 1949): the cumulative proportions times
    their number are all shifted by one draw from [0, 1) and cut to integers. So each client's count
    is within one of its share of a common label, and the client of a label's only example is drawn
    by the proportions: among labels of one example each, whatever alpha is, the parts are IID.

    Args:
        labels: [n].

    Raises:
        FedvoiceError: `bad-config` without clients or for an alpha that is not above 0.
    """
    values = np.asarray(labels)
    if clients < 1:
        raise _bad_config("clients", str(clients), "one at least")
    if not alpha > 0:
        raise _bad_config("alpha", str(alpha), "a number above 0")
    random = np.random.default_rng(seed)
    of_client = np.zeros(len(values), dtype=np.int64)
    for own in by_group(values):
        members = random.permutation(own)
        ends = np.cumsum(random.dirichlet(np.full(clients, alpha)))[:-1] * len(members)
        cuts = np.floor(ends + random.random()).astype(np.int64)
        of_client[members] = np.searchsorted(cuts, np.arange(len(members)), side="right")
    return [np.flatnonzero(of_client == client) for client in range(clients)]


def by_group(groups: npt.ArrayLike) -> list[Int64Array]:
    """One part for each distinct value of groups [n], in the order of the sorted values."""
    values = np.asarray(groups)
    order = np.argsort(values, kind="stable")
    _, starts = np.unique(values[order], return_index=True)
    return _ascending(np.split(order, starts[1:])) if len(values) else []


def _ascending(parts: Sequence[npt.NDArray[Any]]) -> list[Int64Array]:
    return [np.sort(part).astype(np.int64) for part in parts]


def _demand_enough(got: int, needed: int) -> None:
    if not 1 <= needed <= got:
        raise _bad_config(
            "clients", f"{needed} clients for {got} examples", "one a client at least"
        )


def _bad_config(where: str, got: str, wanted: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_CONFIG,
        where=where,
        got=got,
        wanted=wanted,
        next_step="Lower data.clients or shards_per_client, or give more data.",
    )

"""What a user plugs in: a partition and a dataset, in a module of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedvoice.data.dataset import Corpus
from fedvoice.data.memory import MappingDataset, MemoryClients
from fedvoice.data.partitioning import PARTITIONS, Labels, PartitionRule, Parts


@PARTITIONS.register("alternating")
def alternating(labels: Labels, *, clients: int, seed: int, options: Mapping[str, Any]) -> Parts:
    """Every so-manieth example, from `first` on."""
    order = np.arange(int(options.get("first", 0)), len(labels))
    return [order[i::clients] for i in range(clients)]


def beyond(labels: Labels, *, clients: int, seed: int, options: Mapping[str, Any]) -> Parts:
    """Wrong: an example that is not there."""
    return [np.array([len(labels)])]


class Ramps(Corpus):
    """Features that rise or fall, a few a client."""

    corpus: str
    speakers: int = 2

    def clients(self, partition: str | PartitionRule | None = None, seed: int = 0) -> MemoryClients:
        rise = np.linspace(-1, 1, 60, dtype=np.float32).reshape(10, 6)
        pairs = [(rise, "up"), (-rise, "down")]
        train = {f"p{i}": pairs for i in range(self.speakers)}
        return MappingDataset(train, test={"p0": pairs}).clients(partition, seed)

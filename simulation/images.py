"""MNIST as a population (McMahan et al. 2016, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from fedvoice.data.corpora import ImagesCorpus
from fedvoice.data.mnist import (
    SIDE,
    Images,
    Mnist,
    read_mnist,
)
from fedvoice.data.partitions import (
    iid,
    shards,
)
from fedvoice.protocol.engine import Int64Array
from fedvoice.protocol.random import (
    Purpose,
    Stream,
)
from fedvoice.simulation.clients import ClientData


@lru_cache(maxsize=1)
def _mnist(folder: Path) -> Mnist:
    return read_mnist(folder)


class ImagesPopulation:
    """Clients with images; one digit is one word, so the error rate is that of classification."""

    def __init__(self, config: ImagesCorpus, seed: int) -> None:
        mnist = _mnist(config.folder)
        self._train, self._config, self._seed = mnist.train, config, seed
        self._count = min(config.train_images, len(mnist.train))
        self.client_ids: Sequence[str] = [f"client{i:05d}" for i in range(config.clients)]
        self._dealt: Mapping[str, Int64Array] = {}
        if not config.examples_per_client:
            self._dealt = dict(zip(self.client_ids, self._deal(), strict=True))
        tests = np.arange(min(config.test_images, len(mnist.test)))
        self.evaluation: Mapping[str, Sequence[ClientData]] = {
            "wer": [collate_images(mnist.test, tests)]
        }

    def train(self, client_id: str) -> ClientData:
        """A client's images, as floats made anew each time: all clients' would take 190 MB."""
        return collate_images(self._train, self.indices(client_id))

    def indices(self, client_id: str) -> Int64Array:
        """Which images a client has, int64 [m]. Those that are drawn are drawn anew each time, the
        same ones, from the client's own stream: a hundred thousand clients take no memory."""
        wanted = self._config.examples_per_client
        if not wanted:
            return self._dealt[client_id]
        words = Stream(self._seed, client_id, 0, Purpose.PARTITION).words(wanted)
        # As `Stream.below`, for all words at once.
        return ((words.astype(np.uint64) * np.uint64(self._count)) >> np.uint64(32)).astype(
            np.int64
        )

    def _deal(self) -> list[Int64Array]:
        config = self._config
        if config.partition == "iid":
            return iid(self._count, config.clients, self._seed)
        labels = self._train.digits[: self._count]
        return shards(labels, config.clients, config.shards_per_client, self._seed)


def collate_images(images: Images, indices: Int64Array) -> ClientData:
    """Images as examples of 28 frames with 28 bins in 0..1, and token digit + 1."""
    count = len(indices)
    return ClientData(
        features=images.pixels[indices].astype(np.float32) / np.float32(255),
        frames=np.full(count, SIDE, dtype=np.int64),
        targets=(images.digits[indices] + 1).reshape(count, 1),
        target_counts=np.ones(count, dtype=np.int64),
    )

"""MNIST as a population (McMahan et al. 2016, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from android_harness.dealing import iid, shards
from laboratory.clients import ClientData
from laboratory.corpora import ImagesCorpus
from laboratory.data.mnist import SIDE, Images, Mnist, read_mnist
from protocol.engine import Int64Array


@lru_cache(maxsize=1)
def _mnist(folder: Path) -> Mnist:
    return read_mnist(folder)


class ImagesPopulation:
    """Clients with images; one digit is one word, so the error rate is that of classification."""

    def __init__(self, config: ImagesCorpus, seed: int) -> None:
        mnist = _mnist(config.folder)
        self._train = mnist.train
        count = min(config.train_images, len(mnist.train))
        if config.partition == "iid":
            dealt = iid(count, config.clients, seed)
        else:
            labels = mnist.train.digits[:count]
            dealt = shards(labels, config.clients, config.shards_per_client, seed)
        self._dealt = {f"client{i:05d}": indices for i, indices in enumerate(dealt)}
        self.client_ids: Sequence[str] = list(self._dealt)
        tests = np.arange(min(config.test_images, len(mnist.test)))
        self.evaluation: Mapping[str, Sequence[ClientData]] = {
            "wer": [collate_images(mnist.test, tests)]
        }

    def train(self, client_id: str) -> ClientData:
        """A client's images, as floats made anew each time: all clients' would take 190 MB."""
        return collate_images(self._train, self._dealt[client_id])


def collate_images(images: Images, indices: Int64Array) -> ClientData:
    """Images as examples of 28 frames with 28 bins in 0..1, and token digit + 1."""
    count = len(indices)
    return ClientData(
        features=images.pixels[indices].astype(np.float32) / np.float32(255),
        frames=np.full(count, SIDE, dtype=np.int64),
        targets=(images.digits[indices] + 1).reshape(count, 1),
        target_counts=np.ones(count, dtype=np.int64),
    )

"""The data of clients: examples collated once into arrays, so that a batch is an index array."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fedvoice.protocol.engine import Example, Examples, Int64Array
from fedvoice.protocol.parameters import Float32Array


@dataclass(frozen=True)
class ClientData(Examples):
    """Examples of one client (or of a test set), padded to the longest of them.

    features: float32 [n, F, bins], normalised, zero beyond each length; F is a multiple of the
    task's stack. frames: int64 [n] feature frames. targets: int64 [n, U], 0 beyond each length.
    target_counts: int64 [n]. texts: normalised transcripts [n], or none for targets that are no
    texts.
    """

    features: Float32Array
    frames: Int64Array
    targets: Int64Array
    target_counts: Int64Array
    texts: Sequence[str] = ()

    @classmethod
    def collate(cls, examples: Sequence[Example], stack: int, bins: int) -> ClientData:
        """Copy examples into padded arrays; an empty list gives n = 0."""
        count = len(examples)
        frames = np.array([len(e.features) for e in examples], dtype=np.int64)
        counts = np.array([len(e.targets) for e in examples], dtype=np.int64)
        longest = -(-int(frames.max(initial=1)) // stack) * stack
        features = np.zeros((count, longest, bins), dtype=np.float32)
        targets = np.zeros((count, max(1, int(counts.max(initial=1)))), dtype=np.int64)
        for row, example in enumerate(examples):
            features[row, : frames[row]] = example.features
            targets[row, : counts[row]] = example.targets
        texts = [example.text for example in examples]
        return cls(features, frames, targets, counts, texts if any(texts) else ())

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self.features.nbytes + self.targets.nbytes + self.frames.nbytes * 2

    def __len__(self) -> int:
        return len(self.frames)

    def example(self, index: int) -> Example:
        """The example as a phone sees it: views without padding."""
        return Example(
            features=self.features[index, : self.frames[index]],
            targets=self.targets[index, : self.target_counts[index]].tolist(),
            text=self.texts[index] if self.texts else "",
        )


class Population(Protocol):
    """The clients of a simulation and its test sets."""

    @property
    def client_ids(self) -> Sequence[str]:
        """Clients that train, in a fixed order."""

    def train(self, client_id: str) -> ClientData:
        """A client's training examples, made or read when they are asked for."""

    def size(self, client_id: str) -> int:
        """Training examples that a client declares, as a phone does at check-in: all that it holds,
        usable or not. Reads no sound."""

    @property
    def evaluation(self) -> Mapping[str, Iterable[ClientData]]:
        """Test sets by the name of their rate in the results (`wer`, `heldout_wer`), in parts that
        are made when they are asked for."""

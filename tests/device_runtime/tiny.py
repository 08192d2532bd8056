"""A recogniser small enough for paper: softmax regression on an utterance's mean feature.

Parameters: weight [mel_bins, V] and bias [V]; one token a target; features are two numbers a
frame. It implements `protocol.engine.Engine` in numpy, so the laws of training can be checked
without a runtime.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedvoice.protocol.engine import Batch, Example, Int64Array
from fedvoice.protocol.parameters import FlatVector, Float32Array, ParameterTable
from fedvoice.protocol.task import Bucket, FeatureSettings, TaskManifest
from fedvoice.protocol.vocabulary import Vocabulary

BINS, CLASSES = 2, 3
WORDS = ("no", "yes")


def tiny_manifest(*, buckets: Sequence[tuple[int, int]] = ((4, 4),)) -> TaskManifest:
    """Buckets as (frames, batch); stack 1, so frames are feature frames."""
    return TaskManifest(
        name="tiny",
        model_kind="softmax",
        model={},
        parameters=ParameterTable.from_shapes([("weight", (BINS, CLASSES)), ("bias", (CLASSES,))]),
        features=FeatureSettings(mel_bins=BINS, stack=1),
        buckets=tuple(
            Bucket(name=f"t{t}", frames=t, labels=1, batch=b, step_arena_bytes=1000 * t)
            for t, b in buckets
        ),
        vocabulary=Vocabulary.from_words(WORDS),
        program_digest="0" * 64,
        weights_digest="0" * 64,
    )


class TinyEngine:
    """The reference engine of these tests; `calls` counts its steps."""

    def __init__(self, manifest: TaskManifest | None = None) -> None:
        self.manifest = manifest or tiny_manifest()
        self.calls = 0
        self._gradient = np.zeros(self.manifest.parameters.total_size, dtype=np.float32)

    def features(self, waveform: Float32Array) -> Float32Array:
        """Mean and absolute mean of each hop: two numbers a frame."""
        frames = self.manifest.features.frames(waveform.size)
        hops = waveform[: frames * 160].reshape(frames, 160)
        return np.stack([hops.mean(axis=1), np.abs(hops).mean(axis=1)], axis=1).astype(np.float32)

    def step(self, bucket: Bucket, weights: FlatVector, batch: Batch) -> tuple[float, FlatVector]:
        """Weighted cross entropy; the gradient's memory is used again by the next call."""
        self.calls += 1
        assert batch.features.shape == (bucket.batch, bucket.frames, BINS)
        weight, bias = self.manifest.parameters.views(weights)
        means = batch.features.sum(axis=1) / batch.frame_counts[:, None]
        probabilities = softmax(means @ weight + bias)
        rows = np.arange(bucket.batch)
        labels = batch.targets[:, 0]
        loss = float(-(batch.example_weights * np.log(probabilities[rows, labels])).sum())
        error = probabilities.copy()
        error[rows, labels] -= 1
        error *= batch.example_weights[:, None]
        grad_weight, grad_bias = self.manifest.parameters.views(self._gradient)
        grad_weight[...] = means.T @ error
        grad_bias[...] = error.sum(axis=0)
        return loss, self._gradient

    def decode(
        self, bucket: Bucket, weights: FlatVector, features: Float32Array, frame_counts: Int64Array
    ) -> list[list[int]]:
        """The likeliest class, nothing for the blank."""
        weight, bias = self.manifest.parameters.views(weights)
        best = (features.sum(axis=1) / frame_counts[:, None] @ weight + bias).argmax(axis=1)
        return [[int(c)] if c else [] for c in best]


def softmax(logits: Float32Array) -> Float32Array:
    """Over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)


def make_examples(count: int, *, seed: int = 0, frames: int = 3) -> list[Example]:
    """`count` utterances of random features with random words."""
    random = np.random.default_rng(seed)
    return [
        Example(random.normal(size=(frames, BINS)).astype(np.float32), [int(random.integers(1, 3))])
        for _ in range(count)
    ]


def some_weights(manifest: TaskManifest, *, seed: int = 1) -> FlatVector:
    """Random weights [P], padding zero."""
    table = manifest.parameters
    flat = np.zeros(table.total_size, dtype=np.float32)
    random = np.random.default_rng(seed)
    for view in table.views(flat):
        view[...] = random.normal(size=view.shape)
    return flat

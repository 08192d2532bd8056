"""The interface of a training engine, implemented with ExecuTorch and with eager PyTorch.

A host needs only this and arithmetic on flat vectors. All arrays are numpy, C-contiguous.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, overload

import numpy as np
import numpy.typing as npt

from fedvoice.protocol.features import Normalise
from fedvoice.protocol.parameters import FlatVector, Float32Array
from fedvoice.protocol.task import Bucket, FeatureSettings, TaskManifest

Int64Array = npt.NDArray[np.int64]
SMALLEST_DEVIATION = 1e-2
"""Features of no more deviation than that are not blown up."""
WAVEFORM_EPSILON = 1e-7
"""Added to a waveform's variance: that of transformers' `Wav2Vec2FeatureExtractor`."""


@dataclass(frozen=True)
class Batch:
    """Rows of one bucket, padded to its shapes.

    features: float32 [B, T * stack, mel_bins], normalised, unstacked, zero beyond each length; of
        waveforms [B, T, 1], a frame is a sample.
    targets: int64 [B, U] token ids, 0 beyond each length.
    frame_counts: int64 [B] encoder (stacked) frames, 1 in padding rows.
    target_counts: int64 [B] tokens, 0 in padding rows.
    example_weights: float32 [B]; 0 in padding rows. The loss is their weighted sum of losses.
    draws: float32 [D] in [0, 1), as many as the bucket says.
    """

    features: Float32Array
    targets: Int64Array
    frame_counts: Int64Array
    target_counts: Int64Array
    example_weights: Float32Array
    draws: Float32Array = field(default_factory=lambda: np.empty(0, dtype=np.float32))


@dataclass(frozen=True)
class Example:
    """One utterance ready to train on.

    features: float32 [frames, mel_bins], normalised. targets: token ids; of a test utterance whose
    words the task lacks none. text: the normalised transcript, the reference of word errors; empty
    for targets that are no texts.
    """

    features: Float32Array
    targets: Sequence[int]
    text: str = ""


class Examples(Sequence[Example]):
    """A sequence of examples, each made when it is indexed."""

    @abstractmethod
    def example(self, index: int) -> Example:
        """Make the example at `index`, 0..len - 1."""

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        chosen = range(len(self))[index]
        if isinstance(chosen, range):
            return [self.example(i) for i in chosen]
        return self.example(chosen)


class Engine(Protocol):
    """Runs the methods of one task package."""

    @property
    def manifest(self) -> TaskManifest:
        """The task that this engine was loaded for."""

    def features(self, waveform: Float32Array) -> Float32Array:
        """Log-mel [frames, mel_bins] of a waveform [samples] in +-1; not yet normalised. Examples
        are made by `inputs_of`."""

    def step(self, bucket: Bucket, weights: FlatVector, batch: Batch) -> tuple[float, FlatVector]:
        """Weighted loss and its flat gradient [P] at `weights` [P].

        The gradient may lie in memory that the next call overwrites: copy what must last.
        """

    def decode(
        self, bucket: Bucket, weights: FlatVector, features: Float32Array, frame_counts: Int64Array
    ) -> list[list[int]]:
        """Greedy transcripts as token ids, one list a row of features [B, T * stack, mel_bins]."""


class StreamingEngine(Engine, Protocol):
    """An engine that also recognises chunk by chunk; see `protocol.task.Streaming` for C, S, R."""

    def stream(
        self, weights: FlatVector, features: Float32Array, state: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """Outputs [C, O] and state [S] after features [C * stack, mel_bins], from state [S]."""

    def predict(
        self, weights: FlatVector, tokens: Int64Array, states: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """Predictions [R, J] and states [R, S'] after tokens [R], from states [R, S']."""

    def join(
        self, weights: FlatVector, outputs: Float32Array, predictions: Float32Array
    ) -> Float32Array:
        """Logits [R, V] of outputs [R, J] and predictions [R, J]."""


def make_batch(
    examples: Sequence[Example], bucket: Bucket, manifest: TaskManifest, *, weight: float
) -> Batch:
    """Pad at most B examples to a bucket's shapes, each with loss weight `weight`."""
    stack, bins = manifest.features.stack, manifest.features.mel_bins
    features = np.zeros((bucket.batch, bucket.frames * stack, bins), dtype=np.float32)
    targets = np.zeros((bucket.batch, bucket.labels), dtype=np.int64)
    frame_counts = np.ones(bucket.batch, dtype=np.int64)
    target_counts = np.zeros(bucket.batch, dtype=np.int64)
    weights = np.zeros(bucket.batch, dtype=np.float32)
    for row, example in enumerate(examples):
        frames = example.features.shape[0]
        features[row, :frames] = example.features
        targets[row, : len(example.targets)] = example.targets
        frame_counts[row] = manifest.features.stacked_frames(frames)
        target_counts[row] = len(example.targets)
        weights[row] = weight
    return Batch(features, targets, frame_counts, target_counts, weights)


def inputs_of(
    waveform: Float32Array,
    settings: FeatureSettings,
    log_mel: Callable[[Float32Array], Float32Array],
) -> Float32Array:
    """What a model is given of a waveform float32 [samples] in +-1 at the task's rate: float32
    [frames, mel_bins], of kind waveform [samples, 1].

    Args:
        log_mel: `Engine.features`, or the same by other means.

    Raises:
        FedvoiceError: what `log_mel` raises.
    """
    if settings.is_waveform:
        return normalise_waveform(waveform, settings.normalise)[:, None]
    return normalise_features(log_mel(waveform))


def normalise_waveform(waveform: Float32Array, how: Normalise) -> Float32Array:
    """Samples float32 [samples] as the model's front end wants them; sums are double precision, as
    in every host."""
    if how is Normalise.NONE:
        return waveform
    mean = waveform.mean(dtype=np.float64)
    deviation = np.sqrt(waveform.var(dtype=np.float64) + WAVEFORM_EPSILON)
    normalised: Float32Array = ((waveform - mean) / deviation).astype(np.float32)
    return normalised


def normalise_features(features: Float32Array) -> Float32Array:
    """Zero mean for every mel bin, unit variance over the whole utterance: [frames, mel_bins].

    One deviation for all bins: dividing each bin by its own would blow up the noise of bins in
    which a short utterance has no energy.
    """
    centred = features - features.mean(axis=0, keepdims=True)
    normalised: Float32Array = (centred / np.maximum(centred.std(), SMALLEST_DEVIATION)).astype(
        np.float32
    )
    return normalised

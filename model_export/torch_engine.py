"""The reference engine: a task in eager PyTorch, with autograd and the libraries' own losses.

Same interface as the phone's ExecuTorch engine (`protocol.engine.Engine`), none of its code:
conformance tests and `fedvoice evaluate --engine torch` compare the two.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.flat_model import FlatModel
from fedvoice.model_export.log_mel import reference_features
from fedvoice.protocol.engine import Batch, Int64Array
from fedvoice.protocol.parameters import FlatVector, Float32Array
from fedvoice.protocol.task import Bucket, TaskManifest, check_log_mel


class TorchEngine:
    """Eager PyTorch; uses as many threads as `torch.set_num_threads` says.

    Raises:
        FedvoiceError: `bad-package`, see `FlatModel`.
    """

    def __init__(self, manifest: TaskManifest, frozen: Path | None = None) -> None:
        self._manifest = manifest
        self._model = FlatModel(manifest, frozen)
        self._gradient: FlatVector = self._model.gradient.numpy()

    @property
    def manifest(self) -> TaskManifest:
        """The engine's task."""
        return self._manifest

    def features(self, waveform: Float32Array) -> Float32Array:
        """Log-mel [frames, mel_bins] of a waveform [samples] in +-1; not yet normalised.

        Raises:
            FedvoiceError: `bad-package` if the task's examples are not made of log-mel.
        """
        check_log_mel(self._manifest)
        settings = self._manifest.features
        if settings.frames(len(waveform)) < 1:
            return np.zeros((0, settings.mel_bins), dtype=np.float32)
        log_mel = reference_features(torch.from_numpy(waveform)[None], settings)[0]
        return np.ascontiguousarray(log_mel.numpy())

    def step(self, bucket: Bucket, weights: FlatVector, batch: Batch) -> tuple[float, FlatVector]:
        """Weighted loss and its flat gradient [P]; the next call overwrites the gradient."""
        self._install(weights)
        tensors = TensorBatch(
            self._stacked(batch.features),
            torch.from_numpy(batch.targets),
            torch.from_numpy(batch.frame_counts),
            torch.from_numpy(batch.target_counts),
            torch.from_numpy(batch.example_weights),
        )
        with self._model.module.drawing(bucket, torch.from_numpy(batch.draws)):
            loss = self._model.compute_gradient(tensors, add=False)
        return loss.item(), self._gradient

    def decode(
        self, bucket: Bucket, weights: FlatVector, features: Float32Array, frame_counts: Int64Array
    ) -> list[list[int]]:
        """Greedy transcripts as token ids, one list a row of features [B, T*stack, mel_bins]."""
        self._install(weights)
        return self._model.transcribe(self._stacked(features), torch.from_numpy(frame_counts))

    def _install(self, weights: FlatVector) -> None:
        self._manifest.parameters.check(weights, "weights")
        self._model.weights.copy_(torch.from_numpy(np.ascontiguousarray(weights)))

    def _stacked(self, features: Float32Array) -> torch.Tensor:
        """[B, T*stack, mel_bins] -> [B, T, I]."""
        rows, frames, _ = features.shape
        stack = self._manifest.features.stack
        return torch.from_numpy(features).reshape(rows, frames // stack, -1)

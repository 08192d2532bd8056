"""The reference engine: a task in eager PyTorch, with autograd and the libraries' own losses.

Same interface as the phone's ExecuTorch engine (`protocol.engine.Engine`), none of its code:
conformance tests and `fedvoice evaluate --engine torch` hold one against the other.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import ValidationError

from fedvoice.model_export.log_mel import reference_features
from fedvoice.model_export.models import build_model
from fedvoice.model_export.models.config import from_settings
from fedvoice.model_export.models.loss import loss_of
from fedvoice.protocol.engine import (
    Batch,
    Int64Array,
)
from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
)
from fedvoice.protocol.parameters import (
    FlatVector,
    Float32Array,
)
from fedvoice.protocol.task import (
    Bucket,
    TaskManifest,
    check_takes_audio,
)


class TorchEngine:
    """Eager PyTorch; uses as many threads as `torch.set_num_threads` says.

    Raises:
        FedvoiceError: `bad-package` if the manifest's model settings or parameter table are not
            those of a model that this version knows.
    """

    def __init__(self, manifest: TaskManifest) -> None:
        self._manifest = manifest
        features = manifest.features
        try:
            config = from_settings(manifest.model_kind, manifest.model)
        except ValidationError as error:
            raise _unknown_model(manifest, str(error.errors()[0]["msg"])) from error
        input_size = features.stack * features.mel_bins
        self._model = build_model(config, input_size, manifest.vocabulary.size)
        parameters = dict(self._model.named_parameters())
        table = manifest.parameters
        if {s.name: s.shape for s in table.parameters} != {
            name: tuple(p.shape) for name, p in parameters.items()
        }:
            raise _unknown_model(manifest, "a parameter table that the model does not have")
        # Parameters and gradients are views of two flat vectors: one copy in, none out.
        self._weights = np.zeros(table.total_size, dtype=np.float32)
        self._gradient = np.zeros(table.total_size, dtype=np.float32)
        places = zip(
            table.parameters, table.views(self._weights), table.views(self._gradient), strict=True
        )
        for spec, weight, gradient in places:
            parameter = parameters[spec.name]
            parameter.data = torch.from_numpy(weight)
            parameter.grad = torch.from_numpy(gradient)

    @property
    def manifest(self) -> TaskManifest:
        """The task that this engine was made for."""
        return self._manifest

    def features(self, waveform: Float32Array) -> Float32Array:
        """Log-mel [frames, mel_bins] of a waveform [samples] in +-1; not yet normalised.

        Raises:
            FedvoiceError: `bad-package` if the task's examples are not made from recordings.
        """
        check_takes_audio(self._manifest)
        settings = self._manifest.features
        if settings.frames(len(waveform)) < 1:
            return np.zeros((0, settings.mel_bins), dtype=np.float32)
        log_mel = reference_features(torch.from_numpy(waveform)[None], settings)[0]
        return np.ascontiguousarray(log_mel.numpy())

    def step(self, bucket: Bucket, weights: FlatVector, batch: Batch) -> tuple[float, FlatVector]:
        """Weighted loss and its flat gradient [P]; the next call overwrites the gradient."""
        self._install(weights)
        self._gradient[:] = 0
        loss = loss_of(
            self._model,
            self._stacked(batch.features),
            torch.from_numpy(batch.targets),
            torch.from_numpy(batch.frame_counts),
            torch.from_numpy(batch.target_counts),
            torch.from_numpy(batch.example_weights),
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item(), self._gradient

    def decode(
        self, bucket: Bucket, weights: FlatVector, features: Float32Array, frame_counts: Int64Array
    ) -> list[list[int]]:
        """Greedy transcripts as token ids, one list a row of features [B, T*stack, mel_bins]."""
        self._install(weights)
        found = self._model.greedy(self._stacked(features), torch.from_numpy(frame_counts))
        return [hypothesis.tokens for hypothesis in found]

    def _install(self, weights: FlatVector) -> None:
        self._manifest.parameters.check(weights, "weights")
        self._weights[:] = weights

    def _stacked(self, features: Float32Array) -> torch.Tensor:
        """[B, T*stack, mel_bins] -> [B, T, I]."""
        rows, frames, _ = features.shape
        stack = self._manifest.features.stack
        return torch.from_numpy(features).reshape(rows, frames // stack, -1)


def _unknown_model(manifest: TaskManifest, got: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_PACKAGE,
        where=f"task {manifest.name}, model {manifest.model_kind}",
        got=got,
        wanted="a model that this version of fedvoice exports",
        next_step="Export the task with this version of fedvoice, or update fedvoice.",
    )

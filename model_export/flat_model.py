"""A task's eager model over one flat vector of weights and one of gradients."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.kinds import from_settings
from fedvoice.model_export.models.build import fix_as_packaged, task_model
from fedvoice.model_export.models.loss import loss_of
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import TaskManifest


class FlatModel:
    """The module's parameters and their gradients are views: no copy in, none out.

    Attributes:
        module: the model as its kind builds it.
        weights, gradient: float32 [P].

    Args:
        frozen: `TaskPackage.frozen_path`; without it the tensors that do not train are as the
            model's class makes them.

    Raises:
        FedvoiceError: `bad-package` if this version has no model with the manifest's settings and
            parameter table, or if its frozen tensors are not known.
    """

    def __init__(self, manifest: TaskManifest, frozen: Path | None = None) -> None:
        features, table = manifest.features, manifest.parameters
        try:
            config = from_settings(manifest.model_kind, manifest.model)
        except ValidationError as error:
            raise _unknown_model(manifest, str(error.errors()[0]["msg"])) from error
        input_size = features.stack * features.mel_bins
        self.module = task_model(config, manifest.partial, input_size, manifest.vocabulary.size)
        fix_as_packaged(self.module, manifest, frozen)
        parameters = dict(self.module.named_parameters())
        if {s.name: s.shape for s in table.parameters} != {
            name: tuple(p.shape) for name, p in parameters.items()
        }:
            raise _unknown_model(manifest, "a parameter table that the model does not have")
        self.weights, self.gradient = torch.zeros(table.total_size), torch.zeros(table.total_size)
        for spec in table.parameters:
            parameters[spec.name].data = self.weights[spec.place].view(spec.shape)
            parameters[spec.name].grad = self.gradient[spec.place].view(spec.shape)

    def compute_gradient(self, batch: TensorBatch, *, add: bool) -> Tensor:
        """The weighted loss []; its gradient replaces the content of `gradient`, or with `add` is
        added to it."""
        if not add:
            self.gradient.zero_()
        loss = loss_of(self.module, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def transcribe(self, features: Tensor, frame_counts: Tensor) -> list[list[int]]:
        """Greedy token ids at `weights`, a list a row of features [B, T, I], int64 [B]."""
        return [found.tokens for found in self.module.greedy(features, frame_counts)]


def _unknown_model(manifest: TaskManifest, got: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_PACKAGE,
        where=f"task {manifest.name}, model {manifest.model_kind}",
        got=got,
        wanted="a model that this version of fedvoice exports",
        next_step="Export the task with this version of fedvoice, or update fedvoice.",
    )

"""An eager model whose parameters and gradients are views of two flat vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from model_export.models import build_model
from model_export.models.config import from_settings
from model_export.models.loss import loss_of
from protocol.task import TaskManifest


class FlatModel:
    """One model for all clients of a process: installing weights is one copy.

    Attributes:
        weights: float32 [P], what the parameters are views of.
        gradient: float32 [P], likewise; `add_gradient` adds to it.
    """

    def __init__(self, manifest: TaskManifest) -> None:
        self.manifest = manifest
        features = manifest.features
        config = from_settings(manifest.model_kind, manifest.model)
        self.module = build_model(
            config, features.stack * features.mel_bins, manifest.vocabulary.size
        )
        size = manifest.parameters.total_size
        self.weights = torch.zeros(size)
        self.gradient = torch.zeros(size)
        parameters = dict(self.module.named_parameters())
        for spec in manifest.parameters.parameters:
            place = slice(spec.offset, spec.offset + spec.size)
            parameters[spec.name].data = self.weights[place].view(spec.shape)
            parameters[spec.name].grad = self.gradient[place].view(spec.shape)

    def add_gradient(
        self, x: Tensor, y: Tensor, x_lens: Tensor, y_lens: Tensor, example_weights: Tensor
    ) -> Tensor:
        """The weighted loss [] of a batch at `weights`; its gradient is added to `gradient`.

        Args:
            x: stacked features [B, T, I]. y: int64 [B, U]. x_lens (stacked frames), y_lens:
                int64 [B]. example_weights: [B].
        """
        loss = loss_of(self.module, x, y, x_lens, y_lens, example_weights)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def transcribe(self, x: Tensor, x_lens: Tensor) -> list[list[int]]:
        """Greedy token ids at `weights`, a list a row of x [B, T, I], x_lens int64 [B]."""
        return [hypothesis.tokens for hypothesis in self.module.greedy(x, x_lens)]

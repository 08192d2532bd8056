"""Classifiers: a TDNN over utterances, a keyword spotter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Tdnn(nn.Module):
    """Snyder et al. 2018 (x-vectors): dilated convolutions, mean and deviation over time."""

    predicts = "label"

    def __init__(self, input_size: int, vocabulary_size: int, channels: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        sizes = [(input_size, channels, 5, 1), (channels, channels, 3, 2)]
        sizes += [(channels, channels, 3, 3), (channels, 2 * channels, 1, 1)]
        for inputs, outputs, kernel, dilation in sizes:
            layers += [
                nn.Conv1d(inputs, outputs, kernel, dilation=dilation),
                nn.ReLU(inplace=True),
                nn.BatchNorm1d(outputs),
            ]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Linear(4 * channels, channels), nn.ReLU(), nn.Linear(channels, vocabulary_size)
        )

    def predict(self, features: Tensor) -> Tensor:
        """Logits."""
        hidden = self.layers(features.transpose(1, 2))
        logits: Tensor = self.head(torch.cat([hidden.mean(2), hidden.std(2)], 1))
        return logits

    def forward(self, features: Tensor, label: Tensor) -> Tensor:
        """Loss of each row."""
        return functional.cross_entropy(self.predict(features), label, reduction="none")


class KeywordSpotter(nn.Module):
    """Zhang et al. 2017 (DS-CNN): depthwise-separable convolutions, batch norm, pooling."""

    predicts = "label"

    def __init__(self, vocabulary_size: int, channels: int = 64, dropout: float = 0.0) -> None:
        super().__init__()

        def step(inputs: int, kernel: Any, **options: Any) -> list[nn.Module]:
            convolution = nn.Conv2d(inputs, channels, kernel, bias=False, **options)
            return [convolution, nn.BatchNorm2d(channels), nn.ReLU()]

        separable = [
            part
            for _ in range(4)
            for part in step(channels, 3, padding=1, groups=channels) + step(channels, 1)
        ]
        self.layers = nn.Sequential(
            *step(1, (10, 4), stride=2, padding=(5, 1)),
            nn.Dropout(dropout),
            *separable,
            nn.MaxPool2d(2),
            nn.AvgPool2d(2),
        )
        self.head = nn.Linear(channels, vocabulary_size)

    def predict(self, features: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.layers(features[:, None]).mean((2, 3)))
        return logits

    def forward(self, features: Tensor, label: Tensor) -> Tensor:
        """Loss of each row."""
        return functional.cross_entropy(self.predict(features), label, reduction="none")

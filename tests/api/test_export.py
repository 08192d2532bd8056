"""`fedvoice.export`: what a module and an example batch do not say is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fedvoice
from fedvoice.protocol.errors import ErrorCode
from fedvoice.protocol.task import load_package


class Picker(nn.Module):
    predicts = "label"

    def __init__(self, input_size: int, vocabulary_size: int, hidden: int = 3) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(input_size, hidden), nn.Linear(hidden, vocabulary_size)

    def predict(self, features: Tensor) -> Tensor:
        found: Tensor = self.head(torch.tanh(self.body(features)).mean(1))
        return found

    def forward(self, features: Tensor, label: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.predict(features), label, reduction="none")


BATCH = {"features": torch.zeros(2, 4, 5), "label": torch.ones(2)}


def test_a_module_that_was_made_starts_with_its_weights(tmp_path: Path) -> None:
    module = Picker(5, 3, hidden=4)
    settings = {"hidden": 4}
    manifest = fedvoice.export(
        module, BATCH, tmp_path / "task", vocabulary=("yes", "no"), settings=settings
    )
    assert manifest.name == "picker"
    assert [(b.batch, b.frames, b.labels) for b in manifest.buckets] == [(2, 4, 1)]
    found = manifest.parameters.unpack(load_package(tmp_path / "task").weights())
    for name, parameter in module.named_parameters():
        assert np.array_equal(found[name], parameter.detach().numpy())


class Wave(nn.Module):
    predicts = "label"
    takes_audio = True

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.front, self.head = nn.Conv1d(1, 3, 40, 20), nn.Linear(3, vocabulary_size)

    def predict(self, waveform: Tensor) -> Tensor:
        found: Tensor = self.head(torch.relu(self.front(waveform[:, None])).mean(2))
        return found

    def forward(self, waveform: Tensor, label: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.predict(waveform), label, reduction="none")


def test_a_module_of_waveforms_is_told_by_its_example(tmp_path: Path) -> None:
    batch = {"waveform": torch.zeros(2, 400), "label": torch.ones(2)}
    manifest = fedvoice.export(Wave, batch, tmp_path / "task", vocabulary=("yes", "no"))
    assert manifest.features.is_waveform
    assert [(b.batch, b.frames, b.labels) for b in manifest.buckets] == [(2, 400, 1)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"module": Picker(5, 3, hidden=7)}, "body.weight"),
        ({"example_batch": {"features": torch.zeros(2, 4)}}, "label"),
        ({"settings": {"width": 4}}, "width"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_written(
    change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"module": Picker, "example_batch": BATCH, "vocabulary": ("yes", "no")}
    with pytest.raises(fedvoice.FedvoiceError, match=told) as failed:
        fedvoice.export(**{**asked, **change}, out=tmp_path / "task")
    assert failed.value.code is ErrorCode.BAD_CONFIG
    assert not (tmp_path / "task").exists()

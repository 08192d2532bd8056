"""What McMahan et al. 2016 found out about averaging models, on MNIST where it lies here."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from laboratory.averaging import (
    AveragingConfig,
    average_models,
    averaging_csv,
    losses_between,
    write_averaging,
)
from laboratory.data.mnist import read_mnist
from protocol.errors import ErrorCode, FedvoiceError
from protocol.parameters import FlatVector

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL = Path(os.environ.get("FEDVOICE_SPEECH", SHARED)) / "mnist"
needs_mnist = pytest.mark.skipif(
    not REAL.is_dir(), reason="no MNIST here: FEDVOICE_SPEECH/mnist holds its four idx files"
)


def test_the_line_between_two_models_goes_on_beyond_both() -> None:
    def bowl(weights: FlatVector) -> float:
        return float(((weights - 1) ** 2).sum())

    first, second = np.zeros(1, np.float32), np.full(1, 2, np.float32)
    found = losses_between(bowl, first, second, (-0.5, 0.0, 0.5, 0.75, 1.0))
    # At theta the weight is 2 (1 - theta).
    assert found == (4.0, 1.0, 0.0, 0.25, 1.0)


@needs_mnist
def test_models_average_well_from_shared_initial_weights_alone(tmp_path: Path) -> None:
    settings = AveragingConfig(loss_images=2000, thetas=(0.0, 0.5, 1.0))
    found = average_models(read_mnist(REAL).train, settings)
    second, average, first = found.shared
    assert average < min(first, second)
    second, average, first = found.different
    assert average > 1.5 * max(first, second)
    assert found.at(0.5) == (found.shared[1], found.different[1])
    assert found.at(1.0)[0] == found.at(1.0)[1], "the first model is of both pairs"

    figure = write_averaging(tmp_path, found).read_text()
    assert figure.startswith("<svg")
    assert "shared initial weights" in figure
    lines = averaging_csv(found).splitlines()
    assert lines[0] == "theta,shared,different"
    assert lines[2].split(",") == ["0.5", str(found.shared[1]), str(found.different[1])]


@needs_mnist
def test_parts_that_cannot_be_disjoint_are_refused() -> None:
    with pytest.raises(FedvoiceError, match="two disjoint parts of 60000 images") as caught:
        average_models(read_mnist(REAL).train, AveragingConfig(images=30_001))
    assert caught.value.code is ErrorCode.BAD_CONFIG

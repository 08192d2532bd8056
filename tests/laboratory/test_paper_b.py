"""What McMahan et al. 2016 found out about averaging models, on MNIST where it lies here."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fedvoice.data.mnist import read_mnist
from fedvoice.laboratory.averaging import (
    AveragingConfig,
    average_models,
    averaging_csv,
    losses_between,
    write_averaging,
)
from fedvoice.laboratory.experiment.best import best_lines
from fedvoice.laboratory.experiment.config import load_experiment
from fedvoice.laboratory.experiment.summary import summarise
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector
from tests.laboratory.running import run_trial

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
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


@needs_mnist
@pytest.mark.slow
def test_federated_averaging_takes_fewer_rounds_than_fedsgd_and_sorted_digits_more(
    tmp_path: Path,
) -> None:
    experiment = load_experiment(EXPERIMENTS / "mnist-ci.toml", {"data.folder": str(REAL)})
    outcomes = [
        run_trial(trial, tmp_path / trial.digest, tmp_path, lambda _: None, lambda: False)
        for trial in experiment.trials("mnist-ci.toml")
    ]
    lines = best_lines(summarise(outcomes), experiment.tuned, experiment.metric)
    rounds = {}
    for line in lines:
        assert line.rounds_to_target is not None
        rounds[line.arm], reached = line.rounds_to_target
        assert reached == line.seeds, f"{line.name} did not reach the target"
    assert rounds["fedsgd"] > 3 * rounds["iid"]
    assert rounds["noniid"] > 1.5 * rounds["iid"]


@pytest.mark.parametrize(
    "path", sorted(EXPERIMENTS.glob("mnist-*.toml")) + sorted(EXPERIMENTS.glob("shakespeare*.toml"))
)
def test_the_papers_experiments_can_be_read(path: Path) -> None:
    experiment = load_experiment(path)
    trials = experiment.trials(path.name)
    assert all(trial.settings.target for trial in trials)
    # The paper's server takes the mean of the clients' models as it is.
    for trial in trials:
        optimizer = trial.server.optimizer
        assert (optimizer.name, optimizer.rate, optimizer.momentum) == ("sgd", 1.0, 0.0)

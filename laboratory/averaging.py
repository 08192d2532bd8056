"""Averaging two models (McMahan et al. 2016, figure 1).

Two copies of the 2NN learn disjoint IID parts of MNIST, until each overfits its own; then the loss
on the whole training set is drawn along the line theta w + (1 - theta) w'. From different initial
weights the models between the two are worse than both; from shared ones the average is better
than either, the basis of federated averaging.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from fedvoice.data.mnist import DIGITS, SIDE, Images, read_mnist
from fedvoice.laboratory.experiment.plots import curves
from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
from fedvoice.model_export.kinds.two_layer import TwoLayerConfig
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import SpecAugment, TrainingPlan
from fedvoice.protocol.task import FeatureSettings, TaskManifest
from fedvoice.protocol.vocabulary import TargetKind
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.engines import TrainerSpec
from fedvoice.simulation.fast.local import stack_rows, take_rows
from fedvoice.simulation.fast.models import OneModel
from fedvoice.simulation.settings import EngineKind
from fedvoice.simulation.speech import collate_arrays
from fedvoice.simulation.tasks import TrainingTask, unexported_task

CSV_FILE, FIGURE_FILE = "averaging.csv", "averaging.svg"
_ROWS = 1024

Loss = Callable[[FlatVector], float]
"""Mean loss of weights float32 [P]."""


class AveragingConfig(BaseModel):
    """The paper's settings: 600 images a model, 240 steps of SGD."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int = Field(default=600, ge=1)
    """Number of images that each model learns."""
    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=50, ge=1)
    rate: float = Field(default=0.1, gt=0)
    loss_images: int = Field(default=60_000, ge=1)
    """Number of training images, the first of the set, that the loss is measured on."""
    thetas: tuple[float, ...] = tuple(round(-0.2 + 0.05 * i, 2) for i in range(29))
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Averaging:
    """Losses at each theta; theta 1 is the first model and 0 the second."""

    thetas: tuple[float, ...]
    shared: tuple[float, ...]
    """Losses between two models from the same initial weights."""
    different: tuple[float, ...]
    """Losses between two models from different initial weights."""

    def at(self, theta: float) -> tuple[float, float]:
        """(shared, different) at the theta nearest to this."""
        place = min(range(len(self.thetas)), key=lambda i: abs(self.thetas[i] - theta))
        return self.shared[place], self.different[place]


def losses_between(
    loss: Loss, first: FlatVector, second: FlatVector, thetas: Sequence[float]
) -> tuple[float, ...]:
    """loss(theta first + (1 - theta) second) for every theta; both float32 [P]."""
    return tuple(
        loss(np.float32(theta) * first + np.float32(1 - theta) * second) for theta in thetas
    )


def average_models(images: Images, config: AveragingConfig) -> Averaging:
    """Train the pairs and measure the losses between them.

    Raises:
        FedvoiceError: `bad-config` for parts that are larger than half of the images.
    """
    if 2 * config.images > len(images):
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="averaging, images",
            got=str(config.images),
            wanted=f"two disjoint parts of {len(images)} images",
            next_step="Let each model learn fewer images.",
        )
    task = averaging_task(config.batch_size)
    order = np.random.default_rng(config.seed).permutation(len(images))
    parts = [order[: config.images], order[config.images : 2 * config.images]]
    measured = collate_arrays(
        images.select(np.arange(min(config.loss_images, len(images)))), task.manifest
    )
    starts = [task.initial_weights(config.seed), task.initial_weights(config.seed + 1)]
    plan = TrainingPlan(
        local_epochs=config.epochs,
        batch_size=config.batch_size,
        client_rate=config.rate,
        clip_norm=0.0,
        seed=config.seed,
    )
    trainer = TrainerSpec(EngineKind.FAST, task.manifest).make()
    loss = mean_loss(task.manifest, measured)

    def trained(part: int, start: int) -> FlatVector:
        data = collate_arrays(images.select(parts[part]), task.manifest)
        (update,) = trainer.train([(f"model{part}", data)], plan, starts[start], 1)
        if update.delta is None:
            raise FedvoiceError(
                ErrorCode.NOT_FINITE,
                where=f"averaging, model {part}",
                got="a loss that is not finite",
                wanted="a model that learns its images",
                next_step="Lower the rate.",
            )
        return starts[start] + update.delta

    first = trained(0, 0)
    return Averaging(
        config.thetas,
        shared=losses_between(loss, first, trained(1, 0), config.thetas),
        different=losses_between(loss, first, trained(1, 1), config.thetas),
    )


def averaging_task(batch_size: int) -> TrainingTask:
    """The 2NN on MNIST, without a program."""
    names = VocabularyConfig(kind=TargetKind.WORD, as_given=True, tokens=DIGITS)
    return unexported_task(
        ExportConfig(
            name="averaging",
            model=TwoLayerConfig(),
            features=FeatureSettings(mel_bins=SIDE, stack=SIDE),
            vocabulary=names,
            buckets=(BucketConfig(frames=1, labels=1, batch=batch_size),),
        )
    )


def mean_loss(manifest: TaskManifest, data: ClientData) -> Loss:
    """The loss of weights on `data`, a mean over its examples."""
    model = OneModel(manifest)
    taken = take_rows(manifest, data, np.arange(len(data)), SpecAugment(), None)
    batch = stack_rows(manifest, [taken], torch.ones(1)).of(0)

    def loss(weights: FlatVector) -> float:
        model.weights[0].copy_(torch.from_numpy(weights))
        total = 0.0
        with torch.no_grad():
            for start in range(0, len(data), _ROWS):
                total += float(model.module.nll(batch.of(slice(start, start + _ROWS))).sum())
        return total / len(data)

    return loss


def averaging_csv(found: Averaging) -> str:
    """theta and the two losses, a line a theta."""
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(["theta", "shared", "different"])
    rows.writerows(zip(found.thetas, found.shared, found.different, strict=True))
    return buffer.getvalue()


def write_averaging(out: Path, found: Averaging) -> Path:
    """Write `averaging.csv` and `averaging.svg` below `out`; the figure's path."""
    out.mkdir(parents=True, exist_ok=True)
    (out / CSV_FILE).write_text(averaging_csv(found), encoding="utf-8")
    drawn = {"different initial weights": found.different, "shared initial weights": found.shared}
    figure = curves("theta", "loss on the training set", found.thetas, drawn)
    (out / FIGURE_FILE).write_text(figure, encoding="utf-8")
    return out / FIGURE_FILE


def run_averaging(folder: Path, out: Path, config: AveragingConfig) -> Averaging:
    """The whole experiment on the MNIST of `folder`, written below `out`.

    Raises:
        FedvoiceError: as `read_mnist` and `average_models`.
    """
    found = average_models(read_mnist(folder).train, config)
    write_averaging(out, found)
    return found

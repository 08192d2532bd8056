"""A trained model read back from a task package or a run's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from fedvoice.model_export.fresh import flat_weights, model_with, parameter_table
from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.models.module import ModuleModel
from fedvoice.model_export.models.partial import PartialModel
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.partial import PartialTraining
from fedvoice.protocol.task import (
    FROZEN_FILE,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    TaskManifest,
    load_weights,
    parse_manifest,
)

TASK_FOLDER = "task"
"""Where a run of emulated phones keeps its package."""


@dataclass(frozen=True)
class Trained:
    """A task, its model in evaluation mode, and the weights float32 [P] that the model has."""

    manifest: TaskManifest
    model: TaskModel
    weights: FlatVector

    @property
    def own(self) -> nn.Module:
        """The person's own module, or the model of a kind of fedvoice's own."""
        return self.model.module if isinstance(self.model, ModuleModel) else self.model


def read_trained(folder: Path, weights: Path | None = None) -> Trained:
    """The model of a package, or of a run.

    Args:
        folder: a task package, the `out` of `fedvoice.simulate`, or that of `fedvoice simulate`.
        weights: None: the folder's own; a run's are trained, a package's are those that it begins
            with.

    Raises:
        FedvoiceError: `not-found`, `bad-package`, `wrong-shape`, `not-finite`.
    """
    places = (folder / MANIFEST_FILE, folder / TASK_FOLDER / MANIFEST_FILE)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=str(folder),
            got=f"no {MANIFEST_FILE}",
            wanted="a task package, or the folder of a run",
            next_step="Check the path; `fedvoice export` makes packages.",
        )
    manifest = parse_manifest(found.read_bytes(), str(found))
    flat = load_weights(weights or folder / WEIGHTS_FILE, manifest.parameters)
    frozen = found.parent / FROZEN_FILE
    model = model_with(manifest, flat, frozen if frozen.is_file() else None)
    if isinstance(model, PartialModel):
        manifest, model, flat = _whole(manifest, model)
    model.eval()
    return Trained(manifest, model, flat)


def _whole(
    manifest: TaskManifest, model: PartialModel
) -> tuple[TaskManifest, TaskModel, FlatVector]:
    """The same task as if all of its model had trained, with adapters in their matrices."""
    whole = model.base
    for name in model.parts.frozen:
        whole.get_parameter(whole.real_name(name)).requires_grad_(True)
    whole.take(model.merged())
    table = parameter_table(whole)
    alike = {"partial": PartialTraining(), "parameters": table, "frozen_bytes": 0}
    return manifest.model_copy(update=alike), whole, flat_weights(whole, table)

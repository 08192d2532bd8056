"""A trained model read back from a task package or a run's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from fedvoice.model_export.fresh import model_with
from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.models.module import ModuleModel
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.task import (
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
    model = model_with(manifest, flat)
    model.eval()
    return Trained(manifest, model, flat)

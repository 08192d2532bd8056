"""Tasks of experiments: exported once for all trials that share them, independent of the seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from fedvoice.model_export.config import ExportConfig
from fedvoice.model_export.fresh import flat_weights, new_model, unexported_manifest
from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.notes import Note
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import (
    FROZEN_FILE,
    PROGRAM_FILE,
    WEIGHTS_FILE,
    TaskManifest,
    load_package,
    save_weights,
    write_package,
)
from fedvoice.simulation.fleet.prepare import export_key


@dataclass(frozen=True)
class TrainingTask:
    """A task to train. package_dir: None if not exported; its manifest then has no arenas."""

    export: ExportConfig
    manifest: TaskManifest
    package_dir: Path | None

    @property
    def frozen(self) -> Path | None:
        """See `TrainerSpec.frozen`."""
        if self.package_dir is None or not self.manifest.frozen_digest:
            return self.export.weights
        return self.package_dir / FROZEN_FILE

    def initial_weights(self, seed: int) -> FlatVector:
        """A fresh model float32 [P] drawn from `seed`."""
        model = new_model(
            self.export.model_copy(update={"seed": seed}), self.manifest.vocabulary.size
        )
        return flat_weights(model, self.manifest.parameters)

    def write_seeded(self, directory: Path, seed: int) -> None:
        """A copy of the package whose initial weights are those of `seed`."""
        package_dir = self.package_dir
        assert package_dir is not None, "only exported tasks are packages"

        def write(draft: Path) -> None:
            draft.mkdir()
            path = draft / WEIGHTS_FILE
            save_weights(path, self.initial_weights(seed), self.manifest.parameters)
            weights_digest = digest_of(path.read_bytes())
            manifest = self.manifest.model_copy(update={"weights_digest": weights_digest})
            if manifest.frozen_digest:
                (draft / FROZEN_FILE).write_bytes((package_dir / FROZEN_FILE).read_bytes())
            write_package(draft, manifest, (package_dir / PROGRAM_FILE).read_bytes())

        _make_whole(directory, write)


def exported_task(export: ExportConfig, tasks_dir: Path, progress: Note) -> TrainingTask:
    """The package of `export` below `tasks_dir`, exported if it is not there yet.

    Seed and plan of `export` are ignored: trials have their own.
    """
    export = export.model_copy(update={"seed": 0, "plan": TrainingPlan()})
    directory = tasks_dir / export_key(export)[:16]
    if not directory.is_dir():
        from fedvoice.model_export.package import (
            export_task,  # imports lowering (seconds); most trials find the package
        )

        _make_whole(directory, lambda draft: export_task(export, draft, progress=progress))
    return TrainingTask(export, load_package(directory).manifest, directory)


def _make_whole(directory: Path, write: Callable[[Path], object]) -> None:
    """Create `directory` atomically with the content that `write` makes. If another process
    creates it first, its version is kept."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f"{directory.name}.", dir=directory.parent) as name:
        draft = Path(name) / directory.name
        write(draft)
        try:
            draft.rename(directory)
        except OSError:
            if not directory.is_dir():
                raise


def unexported_task(export: ExportConfig) -> TrainingTask:
    """The same task without a program: for the fast engine alone."""
    return TrainingTask(export, unexported_manifest(export), None)

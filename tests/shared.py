"""What takes many seconds to make is made once for all tests of a run, whichever worker asks."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fedvoice.protocol.codec import digest_of

if TYPE_CHECKING:
    import pytest

    from fedvoice.model_export.config import ExportConfig
    from fedvoice.model_export.package import ExportSummary


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A path that `make` writes a file or a folder to, unless another worker did: not to be
    changed."""
    own = factory.getbasetemp()
    run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = run / "shared"
    folder.mkdir(exist_ok=True)
    path, made = folder / name, folder / f"{name}.made"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make(path)
            made.touch()
    return path


def exported(config: ExportConfig, factory: pytest.TempPathFactory) -> ExportSummary:
    """The task package of this configuration, and what its export said."""
    from fedvoice.model_export.package import (
        export_task,  # torch: seconds, and not every test needs it
    )

    def export(folder: Path) -> None:
        folder.mkdir()
        summary = export_task(config, folder / "task")
        (folder / "summary").write_bytes(pickle.dumps(summary))

    name = f"{config.name}-{digest_of(config.model_dump_json().encode())[:16]}"
    summary: ExportSummary = pickle.loads((once(factory, name, export) / "summary").read_bytes())
    return summary

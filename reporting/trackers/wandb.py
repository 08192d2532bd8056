"""`wandb`: a Weights & Biases run, on this machine alone.

Runs are written to FOLDER/wandb and leave the machine when `wandb sync FOLDER/wandb/offline-run-*`
is typed, or if WANDB_MODE=online is set beforehand.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedvoice.reporting.callbacks import RoundEnd
from fedvoice.reporting.results import Results
from fedvoice.reporting.trackers.tracker import Opening, Tracker, demand, final_figures


class Wandb(Tracker):
    """Settings as the run's config, rounds as its history (the step is the round), final figures
    and the weights' path in its summary, results and report as its files.

    Raises:
        FedvoiceError: `missing-extra`.
    """

    def __init__(self, project: str = "fedvoice") -> None:
        super().__init__()
        demand("wandb", "wandb")
        self._project = project
        self._run: Any = None

    def open(self, opening: Opening) -> None:
        """See `Tracker`. A resumed run keeps its id, so that `wandb sync` joins its parts."""
        mode: Any = os.environ.get("WANDB_MODE") or "offline"
        if mode != "online":
            # Its error reports go to its makers, whatever its mode.
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        opening.folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            console="off",  # the terminal is fedvoice's
            silent=True,
            disable_git=True,
            disable_code=True,
            disable_job_creation=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        self._run = wandb.init(
            project=self._project,
            name=opening.run.name,
            id=_earlier(opening.folder) if opening.run.resumed else None,
            dir=str(opening.folder),
            config=dict(opening.settings),
            notes="\n".join(opening.facts),
            mode=mode,
            reinit="create_new",  # a worker runs several trials
            settings=settings,
        )

    def write(self, end: RoundEnd, figures: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._run.log(dict(figures), step=end.result.round)

    def close(self, results: Results, files: list[Path], weights: Path | None) -> None:
        """See `Tracker`."""
        self._run.summary.update(final_figures(results))
        if weights is not None:
            self._run.summary["weights"] = str(weights.absolute())
        for file in files:  # copies: `save` would link to what the next command replaces
            copied = shutil.copyfile(file, Path(self._run.dir) / file.name)
            self._run.save(str(copied), base_path=self._run.dir, policy="now")
        self._run.finish()


def _earlier(folder: Path) -> str | None:
    """The id of the newest run in the folder: offline-run-<time>-<id>."""
    found = sorted((folder / "wandb").glob("*run-*-*"), key=lambda path: path.stat().st_mtime)
    return found[-1].name.rpartition("-")[2] if found else None

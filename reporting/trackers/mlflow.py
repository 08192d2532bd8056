"""`mlflow`: runs in an MLflow tracking store.

The store is that of MLFLOW_TRACKING_URI, else `mlflow.db` in the working folder, as MLflow itself
has it: `mlflow ui` there shows the runs. Experiments are called `fedvoice`.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedvoice.protocol.codec import digest_of
from fedvoice.reporting.callbacks import RoundEnd
from fedvoice.reporting.results import Results
from fedvoice.reporting.trackers.tracker import Opening, Tracker, demand, final_figures

_FOLDER_TAG = "fedvoice.folder"
_MOST_AT_ONCE = 100
"""Of settings in one call: MLflow's own limit."""


class MlFlow(Tracker):
    """Settings as parameters, rounds as metrics (the step is the round), results and report as
    artefacts, facts and the weights' path as tags.

    Args:
        uri: of the tracking store, e.g. sqlite:///runs/mlflow.db. experiment: its name.

    Raises:
        FedvoiceError: `missing-extra`.
    """

    def __init__(self, uri: str = "", experiment: str = "fedvoice") -> None:
        super().__init__()
        demand("mlflow", "mlflow")
        demand("alembic", "mlflow")
        self._uri, self._experiment = uri, experiment
        self._client: Any = None
        self._run_id = ""

    def open(self, opening: Opening) -> None:
        """See `Tracker`. A resumed run is found by its folder."""
        # Its usage statistics would be sent to its makers otherwise.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.entities import Param, RunTag
        from mlflow.tracking import MlflowClient

        uri = self._uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
        with _alone(uri):  # two processes that make its tables at once spoil each other's
            self._client = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(self._experiment)
            number = (
                found.experiment_id
                if found is not None
                else self._client.create_experiment(self._experiment)
            )
        folder = str(opening.folder.absolute())
        self._run_id = self._earlier(number, folder) if opening.run.resumed else ""
        if not self._run_id:
            tags = {_FOLDER_TAG: folder}
            run = self._client.create_run(number, run_name=opening.run.name, tags=tags)
            self._run_id = run.info.run_id
            params = [Param(name, str(value)) for name, value in opening.settings.items()]
            for place in range(0, len(params), _MOST_AT_ONCE):
                self._client.log_batch(self._run_id, params=params[place : place + _MOST_AT_ONCE])
        tags = {f"fact {number}": fact for number, fact in enumerate(opening.facts, 1)}
        self._client.log_batch(self._run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def write(self, end: RoundEnd, figures: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._metrics(figures, end.result.round)

    def close(self, results: Results, files: list[Path], weights: Path | None) -> None:
        """See `Tracker`."""
        last = results.rounds[-1].round if results.rounds else 0
        self._metrics(final_figures(results), last)
        for file in files:
            self._client.log_artifact(self._run_id, str(file))
        if weights is not None:
            self._client.set_tag(self._run_id, "weights", str(weights.absolute()))
        self._client.set_terminated(self._run_id)

    def _earlier(self, experiment: str, folder: str) -> str:
        """The newest run of this folder, if there is one."""
        quoted = folder.replace("'", "\\'")
        runs = self._client.search_runs(
            [experiment],
            f"tags.`{_FOLDER_TAG}` = '{quoted}'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        return str(runs[0].info.run_id) if runs else ""

    def _metrics(self, figures: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        metrics = [Metric(name, value, now_ms, step) for name, value in figures.items()]
        self._client.log_batch(self._run_id, metrics=metrics)


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Hold a lock that is this machine's alone for one store."""
    name = f"fedvoice-mlflow-{os.getuid()}-{digest_of(_where(uri).encode())[:16]}.lock"
    with (Path(tempfile.gettempdir()) / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _where(uri: str) -> str:
    path = uri.removeprefix("sqlite:///")
    return str(Path(path).absolute()) if path != uri else uri

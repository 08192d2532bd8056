"""The corpora of an experiment, looked at before it is run."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fedvoice.data.dataset import Dataset, clients_of, identity_of, report_of
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.protocol.errors import FedvoiceError


def corpus_lines(trials: Sequence[Trial]) -> tuple[list[str], list[FedvoiceError]]:
    """What each distinct corpus of the trials gives, a line each; errors of those that cannot be
    read or partitioned."""
    distinct: dict[str, tuple[Dataset, Trial]] = {}
    lines, errors = [], []
    for trial in trials:
        key = json.dumps(identity_of(trial.settings.data), sort_keys=True)
        distinct.setdefault(key, (trial.settings.data, trial))
    for data, trial in distinct.values():
        try:
            report = report_of(clients_of(data, seed=trial.seed))
        except FedvoiceError as error:
            errors.append(error)
            continue
        if report is not None:
            lines.append(f"corpus of {trial.name}: {report.describe()}")
    return lines, errors

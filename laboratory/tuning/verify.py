"""The best plan of a search and the hand-set one, compared on fresh seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import TrialProgress
from fedvoice.laboratory.experiment.runner import run_trials
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.laboratory.tuning.config import TuningConfig
from fedvoice.laboratory.tuning.report import Verdict
from fedvoice.laboratory.tuning.study import Search, figure_of
from fedvoice.protocol.errors import FedvoiceError


class _Silent:
    """An `Observer` that reports progress only."""

    def progressed(self, trial: Trial, progress: TrialProgress) -> None:
        """See `runner.Observer`."""

    def finished(self, trial: Trial, outcome: Outcome | None, error: FedvoiceError | None) -> None:
        """See `runner.Observer`."""


def compare(search: Search, config: TuningConfig, trials_dir: Path, jobs: int) -> Verdict | None:
    """Run both plans on `verify_seeds`; None if no trial has finished.

    Raises:
        FedvoiceError: the error of a failed trial.
    """
    best = search.best()
    if best is None:
        return None
    seeds = config.search.verify_seeds
    plans: list[dict[str, Any]] = [best.params, *config.search.known[:1]]
    arms = [[search.trial(plan, seed) for seed in seeds] for plan in plans]
    gathered = run_trials(
        [trial for arm in arms for trial in arm],
        trials_dir,
        jobs,
        _Silent(),
        allow_skipped=search.allow_skipped,
    )
    for failure in gathered.failures:
        raise failure.error
    figures = {o.trial.digest: figure_of(o, config.metric) for o in gathered.outcomes}
    rates = [tuple(figures[trial.digest] for trial in arm) for arm in arms]
    return Verdict(best.params, rates[0], rates[1] if len(rates) > 1 else ())

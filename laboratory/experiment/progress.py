"""Progress of a running trial, and early ends by pruning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedvoice.laboratory.experiment.outcome import Point
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.reporting.callbacks import Callback, RoundEnd


@dataclass(frozen=True)
class TrialProgress:
    """How far a trial is. `rounds`: of the whole trial; `note`: a few words; `said`: a fact that
    stays, to be printed."""

    done: int
    rounds: int
    note: str = ""
    said: str = ""


PruneRule = Callable[[Point], bool]
"""Whether to prune a trial at this evaluation; picklable."""


class Pruned(Exception):  # noqa: N818
    """A prune rule ended the trial. `round_number`: of the evaluation that it judged."""

    def __init__(self, round_number: int) -> None:
        super().__init__(round_number)
        self.round_number = round_number


class Prune(Callback):
    """Prunes a trial at the first evaluation at which a rule says so."""

    def __init__(self, rule: PruneRule) -> None:
        self._rule, self._secs = rule, 0.0

    def round_ended(self, end: RoundEnd) -> bool:
        """See `Callback`.

        Raises:
            Pruned: when the rule says so.
        """
        row = end.result
        self._secs += row.wall_secs
        point = Point(
            round=row.round,
            rates=end.rates,
            communication_bytes=row.cfmq_communication_bytes,
            computation_bytes=row.cfmq_compute_bytes,
            wall_secs=self._secs,
        )
        if end.rates and self._rule(point):
            raise Pruned(row.round)
        return False


class Tell(Callback):
    """Reports a trial's progress as a number of rounds and a few words."""

    def __init__(self, report: Callable[[TrialProgress], None], rounds: int) -> None:
        self._report, self._rounds, self._rate = report, rounds, ""

    def noted(self, what: str) -> None:
        """See `Callback`."""
        self._report(TrialProgress(0, self._rounds, what))

    def stated(self, what: str) -> None:
        """See `Callback`."""
        self._report(TrialProgress(0, self._rounds, said=what))

    def round_ended(self, end: RoundEnd) -> bool:
        """See `Callback`. The note is the last error rate."""
        if "pooled" in end.rates:
            self._rate = f"{end.rates['pooled']:.1f} %"
        self._report(TrialProgress(end.result.round, end.rounds, self._rate))
        return False


def trial_dir(trials_dir: Path, trial: Trial) -> Path:
    """The folder of a trial's results."""
    return trials_dir / trial.digest[:20]

"""The unfinished trials of an experiment, and their expected time from finished ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedvoice.laboratory.experiment.kept import read_outcome
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import trial_dir
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.simulation.checkpoint import STATE_FILE


@dataclass(frozen=True)
class Standing:
    """The state of a trial.

    secs: time it took, if it is finished. expected_secs: estimated time, if it is not; None if no
    similar trial is finished.
    """

    trial: Trial
    done: bool
    begun: bool
    secs: float | None = None
    expected_secs: float | None = None


def look(trials: Sequence[Trial], trials_dir: Path) -> list[Standing]:
    """The state of the trials on disk, equal ones once; nothing is run."""
    distinct = list({trial.digest: trial for trial in reversed(trials)}.values())[::-1]
    found = {trial.digest: read_outcome(trial, trial_dir(trials_dir, trial)) for trial in distinct}
    outcomes = [outcome for outcome in found.values() if outcome is not None]
    standings = []
    for trial in distinct:
        outcome = found[trial.digest]
        if outcome is not None:
            standings.append(Standing(trial, True, True, secs=took_secs(outcome)))
            continue
        begun = (trial_dir(trials_dir, trial) / STATE_FILE).is_file()
        standings.append(
            Standing(trial, False, begun, expected_secs=expected_secs(trial, outcomes))
        )
    return standings


def took_secs(outcome: Outcome) -> float:
    """Seconds of a trial: the last command's, or of all its rounds if it was resumed."""
    rounds_secs = sum(row.wall_secs for row in outcome.results.rounds)
    return max(float(outcome.results.final.get("secs") or 0.0), rounds_secs)


def expected_secs(trial: Trial, outcomes: Sequence[Outcome]) -> float | None:
    """The mean over other seeds of the same arm and point; without any, over the arm's trials;
    without any, over all trials."""
    nearest = [o for o in outcomes if (o.trial.arm, o.trial.point) == (trial.arm, trial.point)]
    own_arm = [o for o in outcomes if o.trial.arm == trial.arm]
    for kin in (nearest, own_arm, outcomes):
        if kin:
            return sum(took_secs(outcome) for outcome in kin) / len(kin)
    return None


def remaining_secs(standings: Sequence[Standing], jobs: int) -> float | None:
    """Seconds until all trials are finished, `jobs` at a time and in order; None if a trial's time
    is unknown. Progress of interrupted trials is not deducted."""
    free_at = [0.0] * jobs
    for standing in standings:
        if standing.done:
            continue
        if standing.expected_secs is None:
            return None
        first = free_at.index(min(free_at))
        free_at[first] += standing.expected_secs
    return max(free_at)

"""The loop over rounds, with callbacks and checkpoints, for every kind of `Training`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from fedvoice.protocol.scoring import ErrorCounts
from fedvoice.reporting.callbacks import Callback, RoundEnd
from fedvoice.simulation.federation import FederationState, Training

CHECKPOINT_SECS = 20.0
CHARACTER_RATES = {"wer": "cer", "heldout_wer": "heldout_cer", "pooled": "pooled_cer"}
"""The name of the character error rate beside each rate of words."""
TEST_SETS = ("wer", "heldout_wer")


class Interrupted(Exception):  # noqa: N818
    """Stopped on request; the checkpoint holds the last state."""


class StopWhenAsked(Callback):
    """Stops a run on request: before its next round, or between two parts of the preparation."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop

    def noted(self, what: str) -> None:
        """See `Callback`.

        Raises:
            Interrupted: when asked to stop.
        """
        if self._should_stop():
            raise Interrupted

    def round_begins(self, number: int) -> None:
        """See `Callback` and `noted`."""
        self.noted("")


def run_rounds(
    training: Training,
    state: FederationState,
    callback: Callback,
    *,
    is_over: Callable[[FederationState], bool] = lambda state: False,
    save: Callable[[FederationState], None] = lambda state: None,
) -> tuple[FederationState, bool]:
    """Run the rounds of `training` from `state` on, until a callback or `is_over` ends the run.

    Returns:
        The last state, and whether a callback ended the run: that is no property of its settings,
        so such a result is kept as an unfinished run.

    Args:
        save: stores a state; called every CHECKPOINT_SECS and when anything is raised.

    Raises:
        Interrupted: by a callback; like all that is raised, after `save`.
    """
    rounds = training.rounds
    saved, ended_early = time.monotonic(), False
    while state.number < rounds and not is_over(state):
        try:
            callback.round_begins(state.number + 1)
            state = training.step(state)
            if callback.round_ended(round_end(state, rounds)):
                ended_early = state.number < rounds and not is_over(state)
                break
        except BaseException:
            save(state)
            raise
        if time.monotonic() - saved > CHECKPOINT_SECS:
            save(state)
            saved = time.monotonic()
    # A run that ended between two evaluations: evaluate the model that its cost paid for.
    state = training.finish(state) if 0 < state.number < rounds else state
    return state, ended_early


def round_end(state: FederationState, rounds: int) -> RoundEnd:
    """The last round of `state`, as passed to callbacks."""
    rates = rates_of(state.evaluations.get(state.number, {}))
    return RoundEnd(state.rows[-1], rounds, rates, state.weights)


def rates_of(sets: Mapping[str, ErrorCounts]) -> dict[str, float]:
    """Percent by test set; `pooled` counts the words of all of them together. Beside each, where
    characters were counted, their rate: `cer`, `heldout_cer`, `pooled_cer`."""
    known = {name: sets[name] for name in TEST_SETS if name in sets}
    known["pooled"] = sum(sets.values(), ErrorCounts(0, 0))
    rates = {name: counts.percent for name, counts in known.items()}
    rates |= {CHARACTER_RATES[name]: counts.char_percent for name, counts in known.items()}
    return {name: rate for name, rate in rates.items() if rate is not None}

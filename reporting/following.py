"""Callbacks told of rounds that others run: read from books that grow."""

from __future__ import annotations

from fedvoice.reporting.callbacks import Callback, RoundEnd
from fedvoice.reporting.rates import rates_in
from fedvoice.reporting.results import Books


class Following:
    """Tells a callback of each round once, when its evaluation is in; of a resumed run from its
    first round on, as the process before may have died before it told.

    Args:
        rounds: of the whole run.
    """

    def __init__(self, told: Callback, rounds: int) -> None:
        self._told, self._rounds, self._done = told, rounds, 0

    def show(self, books: Books, *, last: bool = False) -> bool:
        """Tell of what is new. The newest round may still wait for its evaluation, so it waits,
        too, until the next has ended or `last` says that nothing follows.

        Returns:
            Whether the callback wants the run to end.
        """
        ends = False
        rounds = books.rounds if last else books.rounds[:-1]
        for row in rounds[self._done :]:
            ends |= self._told.round_ended(RoundEnd(row, self._rounds, rates_in(row)))
            self._told.round_begins(row.round + 1)
        self._done = max(self._done, len(rounds))
        return ends

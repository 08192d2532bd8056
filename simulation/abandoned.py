"""Rounds of which nothing came: a run that has none but those is no result, and one that comes to
have none but those ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedvoice.algorithm.rounds import Phase
from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
)
from fedvoice.reporting.results import RoundResult

_WAYS_OUT = {
    "no usable example": "Let the task have the corpus's words, and buckets as long as it.",
    "too many examples": "Set plan.data_limit, or raise server.max_client_examples.",
    "nobody": "Let somebody train: deal to more clients, or hold fewer speakers out.",
}
"""By what was the matter most often; the way out of the rest is gentler training."""

STUCK_ROUNDS = 10


def stuck(rows: Sequence[RoundResult]) -> bool:
    """Whether no update counted in any of the last STUCK_ROUNDS: every client was asked each time,
    and each next round would ask all of them again with the same weights."""
    last = rows[-STUCK_ROUNDS:]
    return len(last) == STUCK_ROUNDS and all(
        row.end.startswith(Phase.ABANDONED) and not row.clients for row in last
    )


def see_that_updates_count(
    where: str, rows: Sequence[RoundResult], refused: Mapping[str, int]
) -> None:
    """Abandoned rounds are fine as long as one at least was committed.

    Args:
        rows: those of a federated run that has come to its end; row 0 has no round.
        refused: updates that did not count, by reason; empty where only a server knows.

    Raises:
        FedvoiceError: `no-updates`.
    """
    ends = [row.end for row in rows if row.round]
    if not ends or not all(end.startswith(Phase.ABANDONED) for end in ends):
        return
    if refused:
        why = max(refused, key=lambda reason: refused[reason])
        told = f"{sum(refused.values())} were refused, most often with: {why} ({refused[why]})"
    else:
        why = max(ends, key=ends.count).rpartition(", ")[2]
        told = f"rounds were abandoned with: {why}"
    raise FedvoiceError(
        ErrorCode.NO_UPDATES,
        where=where,
        got=f"{len(ends)} rounds, 0 updates that counted; {told}",
        wanted="one round at least that moved the model",
        next_step=_WAYS_OUT.get(
            why,
            "Lower plan.client_rate, set plan.clip_norm, or look at server.min_fraction and at the "
            "server's bounds on updates (max_update_abs, max_update_norm).",
        ),
    )

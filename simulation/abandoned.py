"""Abandoned rounds: a run in which every round was abandoned fails, and a run in which no update
counts any more ends early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedvoice.algorithm.rounds import Phase
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.reporting.results import RoundResult

_WAYS_OUT = {
    "no usable example": "Give the task the corpus's vocabulary, and buckets of its lengths.",
    "too many examples": "Set plan.data_limit, or raise server.max_client_examples.",
    "nobody": "Partition the corpus among more clients, or hold fewer speakers out.",
}
"""The next step by the most frequent reason; for all others it is gentler training."""

STUCK_ROUNDS = 10


def stuck(rows: Sequence[RoundResult]) -> bool:
    """Whether no update was accepted in any of the last STUCK_ROUNDS rounds. Each round invited
    every client, so the next one would invite the same clients with the same weights."""
    last = rows[-STUCK_ROUNDS:]
    return len(last) == STUCK_ROUNDS and all(
        row.end.startswith(Phase.ABANDONED) and not row.clients for row in last
    )


def see_that_updates_count(
    where: str, rows: Sequence[RoundResult], refused: Mapping[str, int]
) -> None:
    """Check that at least one round was committed.

    Args:
        rows: the results of a finished federated run; row 0 has no round.
        refused: number of rejected updates by reason; empty where only a server knows.

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
        got=f"{len(ends)} rounds, 0 updates accepted; {told}",
        wanted="at least one committed round",
        next_step=_WAYS_OUT.get(
            why,
            "Lower plan.client_rate, set plan.clip_norm, or look at server.min_fraction and at the "
            "server's bounds on updates (max_update_abs, max_update_norm, norm_bound_factor).",
        ),
    )

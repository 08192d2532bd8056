"""The cost books (law 7): the one place where CFMQ is added up, round by round.

CFMQ = R K (P + alpha nu), nu = e N / (b K) mu (arXiv 2010.15965). Measured: R K P is the bytes that
the driver saw move, R K nu the sum over accepted reports of steps * mu, mu as the client planned
it. Analytic: the paper's formula, with the plan's e and b, and the means of N, P and mu. Both are
kept side by side and add up over the rounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fedvoice.protocol.cost import Cfmq, analytic_cfmq

FREE = Cfmq(0.0, 0.0)


class Counts(Protocol):
    """What the books read of an accepted report: a message `Statistics`, or a stored row."""

    @property
    def examples(self) -> int:
        """n_k."""

    @property
    def steps(self) -> int:
        """Optimiser steps."""

    @property
    def loss(self) -> float:
        """Mean over the client's examples."""

    @property
    def planned_memory_bytes(self) -> int:
        """mu."""

    @property
    def peak_memory_bytes(self) -> int:
        """Measured beside it."""


@dataclass(frozen=True)
class FormulaTerms:
    """What the paper's formula takes beside the reports.

    payload_bytes: P, down plus up, of a client of the round on average. batch_size: b; 0: all
    local examples in one batch.
    """

    payload_bytes: float
    local_epochs: float
    batch_size: float


@dataclass(frozen=True)
class Costs:
    """CFMQ of all rounds so far, as measured and by the formula."""

    measured: Cfmq = FREE
    analytic: Cfmq = FREE


@dataclass(frozen=True)
class RoundAccount:
    """One closed round. `costs` add up all rounds so far, the rest is the round's own.

    loss: mean over accepted clients weighted by n_k; None without a finite one. Memory: the
    largest of the round, as planned and as measured.
    """

    clients: int
    examples: int
    steps: int
    loss: float | None
    bytes_down: int
    bytes_up: int
    planned_memory_bytes: int
    peak_memory_bytes: int
    costs: Costs


def account(
    before: Costs,
    accepted: Sequence[Counts],
    *,
    bytes_down: int,
    bytes_up: int,
    alpha: float,
    formula: FormulaTerms | None,
) -> RoundAccount:
    """Add a finished round to the books.

    Args:
        before: the costs of the rounds before.
        accepted: statistics of the accepted reports.
        bytes_down: moved to clients for this round's training, refused ones included.
        bytes_up: moved from them.
        alpha: weight of computation.
        formula: None for central training, which the paper's formula does not describe: analytic
            then equals measured.
    """
    examples = sum(counts.examples for counts in accepted)
    measured = Cfmq(
        before.measured.communication_bytes + bytes_down + bytes_up,
        before.measured.computation_bytes + sum(c.steps * c.planned_memory_bytes for c in accepted),
        alpha,
    )
    analytic = measured if formula is None else _by_formula(before, accepted, alpha, formula)
    loss = sum(c.examples * c.loss for c in accepted) / examples if examples else None
    return RoundAccount(
        clients=len(accepted),
        examples=examples,
        steps=sum(c.steps for c in accepted),
        loss=loss if loss is None or math.isfinite(loss) else None,
        bytes_down=bytes_down,
        bytes_up=bytes_up,
        planned_memory_bytes=max((c.planned_memory_bytes for c in accepted), default=0),
        peak_memory_bytes=max((c.peak_memory_bytes for c in accepted), default=0),
        costs=Costs(measured, analytic),
    )


def _by_formula(
    before: Costs, accepted: Sequence[Counts], alpha: float, formula: FormulaTerms
) -> Cfmq:
    communication_bytes = before.analytic.communication_bytes
    computation_bytes = before.analytic.computation_bytes
    if accepted:
        clients = len(accepted)
        examples = sum(counts.examples for counts in accepted)
        of_round = analytic_cfmq(
            rounds=1,
            clients=clients,
            payload_bytes=formula.payload_bytes,
            memory_bytes=sum(c.planned_memory_bytes for c in accepted) / clients,
            local_epochs=formula.local_epochs,
            round_examples=examples,
            batch_size=formula.batch_size or examples / clients,
            alpha=alpha,
        )
        communication_bytes += of_round.communication_bytes
        computation_bytes += of_round.computation_bytes
    return Cfmq(communication_bytes, computation_bytes, alpha)

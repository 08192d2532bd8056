"""Trials at work, and those whose worker died."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import Trial as Proposal

from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
)

DEATHS_AT_MOST = 3
"""Of workers, while the same trial was at work."""


@dataclass
class Attempt:
    """A trial at work. deaths: workers that have died at it."""

    proposal: Proposal
    trial: Trial
    deaths: int = 0

    @property
    def number(self) -> int:
        """The trial's."""
        return self.proposal.number

    @property
    def hopeless(self) -> bool:
        """Whether it is not tried again."""
        return self.deaths >= DEATHS_AT_MOST


def worker_lost(what: str) -> FedvoiceError:
    """Workers died again and again at `what`."""
    return FedvoiceError(
        ErrorCode.CLIENT_LOST,
        where=what,
        got=f"{DEATHS_AT_MOST} worker processes that ended, as out-of-memory processes do",
        wanted="a worker that finishes it",
        next_step="Run with fewer --jobs, or narrow the search's space: finished runs are kept.",
    )

"""Running trials, and trials whose worker died."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import Trial as Proposal

from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

DEATHS_AT_MOST = 3
"""Deaths of workers that end the attempts at one trial."""


@dataclass
class Attempt:
    """A running trial. deaths: number of workers that died at it."""

    proposal: Proposal
    trial: Trial
    deaths: int = 0

    @property
    def number(self) -> int:
        """The trial's."""
        return self.proposal.number

    @property
    def hopeless(self) -> bool:
        """Whether it is not retried."""
        return self.deaths >= DEATHS_AT_MOST


def worker_lost(what: str) -> FedvoiceError:
    """The error for workers that died repeatedly at `what`."""
    return FedvoiceError(
        ErrorCode.CLIENT_LOST,
        where=what,
        got=f"{DEATHS_AT_MOST} worker processes ended; the usual cause is lack of memory",
        wanted="a worker that finishes it",
        next_step="Run with fewer --jobs, or narrow the search's space: finished trials are kept.",
    )

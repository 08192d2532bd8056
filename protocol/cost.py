"""CFMQ, the cost of federated model quality.

Source: Guliani, Beaufays, Motta, "Training Speech Recognition Models with Federated Learning: A
Quality/Cost Framework" (arXiv 2010.15965): CFMQ = R K (P + alpha nu), nu = (e N) / (b K) mu.

fedvoice has one definition of mu, the training memory of a client: weights + gradient + optimiser
state + planned arena of the largest bucket used. The measured peak is kept beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Cfmq:
    """The two terms of CFMQ, bytes; `computation_bytes` is memory x steps (byte-steps)."""

    communication_bytes: float
    computation_bytes: float
    alpha: float = 1.0

    @property
    def total_bytes(self) -> float:
        """communication + alpha * computation."""
        return self.communication_bytes + self.alpha * self.computation_bytes


def local_steps(
    *, local_epochs: float, round_examples: float, batch_size: float, clients: float
) -> float:
    """(e N) / (b K): optimiser steps of an average client in a round."""
    return local_epochs * round_examples / (batch_size * clients)


def analytic_cfmq(
    *,
    rounds: float,
    clients: float,
    payload_bytes: float,
    memory_bytes: float,
    local_epochs: float,
    round_examples: float,
    batch_size: float,
    alpha: float = 1.0,
) -> Cfmq:
    """CFMQ by the paper's formula.

    Args:
        rounds: R.
        clients: K, clients a round.
        payload_bytes: P, down plus up, per client and round.
        memory_bytes: mu, training memory of a client.
        local_epochs: e.
        round_examples: N, examples a round over all its clients.
        batch_size: b.
        alpha: weight of computation against communication.
    """
    steps = local_steps(
        local_epochs=local_epochs,
        round_examples=round_examples,
        batch_size=batch_size,
        clients=clients,
    )
    return Cfmq(
        communication_bytes=rounds * clients * payload_bytes,
        computation_bytes=rounds * clients * steps * memory_bytes,
        alpha=alpha,
    )


def training_memory_bytes(
    *, weights_bytes: int, optimizer_state_bytes: int, arena_bytes: int, frozen_bytes: int = 0
) -> int:
    """mu: weights + gradient + optimiser state + planned arena of the largest bucket used, and
    what of the model is frozen.

    The flat gradient is an output that lives inside the arena (the memory plan puts it there), so
    `arena_bytes` already holds it and it is not added a second time.
    """
    return weights_bytes + optimizer_state_bytes + arena_bytes + frozen_bytes


def human_bytes(count: float) -> str:
    """`count` bytes in decimal units, three digits: 1.23 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def gigabytes(count: float) -> str:
    """`count` bytes as a number of GB for a column: two decimals, more where those would be 0."""
    giga = count / 1e9
    if giga <= 0 or giga >= 0.1:
        return f"{giga:.2f}"
    return f"{giga:.{1 - math.floor(math.log10(giga))}f}"

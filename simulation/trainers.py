"""The interface of trainers: an engine in the process that trains clients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.simulation.clients import ClientData


@dataclass(frozen=True)
class LocalUpdate:
    """delta: weights after - before, float32 [P]; None if nothing was trained or it diverged."""

    delta: FlatVector | None
    statistics: pb.Statistics


class Trainer(Protocol):
    """Trains clients and transcribes test sets."""

    @property
    def clients_together(self) -> int:
        """Number of clients that it trains at once; smaller groups are slower a client."""

    def train(
        self,
        clients: Sequence[tuple[str, ClientData]],
        plan: TrainingPlan,
        weights: FlatVector,
        round_number: int,
    ) -> Iterator[LocalUpdate]:
        """Updates of (client id, examples) from `weights` float32 [P], in the clients' order."""

    def transcribe(self, data: ClientData, weights: FlatVector) -> list[list[int]]:
        """Greedy token ids of every example, in order; an example no bucket holds gives []."""

"""The work of some of a round's clients in one process: trained, checked, folded into a part sum.

Part sums are exact (law 1): dealt to processes or machines in whole groups of clients that train
together, a cohort comes to the same model to the bit. (Beside other clients one's own delta differs
in the last bits: matrix products of another size round differently.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fedvoice.algorithm.aggregation import (
    Accumulator,
    inspect,
)
from fedvoice.protocol.codec import (
    decode,
    encode,
)
from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
)
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.simulation.clients import Population
from fedvoice.simulation.trainers import (
    LocalUpdate,
    Trainer,
)


@dataclass(frozen=True)
class UpdateLimits:
    """What the server would check an update against (`server.config.ServerConfig`)."""

    grid_bits: int
    max_update_abs: float
    max_update_norm: float
    max_client_examples: int


@dataclass(frozen=True)
class RoundWork:
    """What every client of a round gets. weights: float32 [P]."""

    number: int
    plan: TrainingPlan
    weights: FlatVector
    limits: UpdateLimits


@dataclass(frozen=True)
class ClientReport:
    """What a client did. `refused`: why its update does not count, or empty."""

    client_id: str
    statistics: pb.Statistics
    payload_bytes: int
    refused: str = ""


@dataclass
class CohortPart:
    """Reports in the order of the clients, and the sum of the updates that count."""

    total: Accumulator
    reports: list[ClientReport] = field(default_factory=list)


def train_cohort(
    trainer: Trainer, population: Population, work: RoundWork, client_ids: Sequence[str]
) -> CohortPart:
    """Train these clients, as many together as the trainer likes; updates are folded as they come
    (law 3)."""
    part = CohortPart(Accumulator(work.weights.size, grid_bits=work.limits.grid_bits))
    for start in range(0, len(client_ids), trainer.clients_together):
        group = client_ids[start : start + trainer.clients_together]
        clients = [(client_id, population.train(client_id)) for client_id in group]
        updates = trainer.train(clients, work.plan, work.weights, work.number)
        for client_id, update in zip(group, updates, strict=True):
            part.reports.append(_fold(update, work, client_id, part.total))
    return part


def _fold(update: LocalUpdate, work: RoundWork, client_id: str, total: Accumulator) -> ClientReport:
    """Check an update as the server does, and add it to the sum if it counts."""
    delta, statistics = update.delta, update.statistics
    if delta is None:
        why = "diverged" if statistics.steps else "no usable example"
        return ClientReport(client_id, statistics, 0, why)
    limits = work.limits
    if statistics.examples > limits.max_client_examples:  # such weights could overflow the sum
        return ClientReport(client_id, statistics, 0, "too many examples")
    encoding = work.plan.update_encoding
    payload_bytes = delta.nbytes
    if encoding != "float32":
        try:
            payload = encode(delta, encoding)
        except FedvoiceError as error:
            if error.code is not ErrorCode.NOT_FINITE:
                raise
            return ClientReport(client_id, statistics, 0, "beyond the encoding's range")
        payload_bytes = len(payload)
        delta = decode(payload, encoding, delta.size, client_id)
    facts = inspect([delta])
    if not facts.finite:
        return ClientReport(client_id, statistics, payload_bytes, "not finite")
    too_large = facts.max_abs > limits.max_update_abs
    if too_large or 0 < limits.max_update_norm < facts.norm:
        return ClientReport(client_id, statistics, payload_bytes, "norm too large")
    total.fold([delta], statistics.examples)
    return ClientReport(client_id, statistics, payload_bytes)

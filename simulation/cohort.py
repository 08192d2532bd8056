"""The share of a round in one process: clients are trained, updates checked and folded into a
partial sum.

Partial sums are exact (law 1). A cohort that is split among processes or machines in whole groups
of clients that train together gives the same model, to the bit. (In a group of another size a
client's delta differs in the last bits: matrix products of other sizes round differently.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fedvoice.algorithm.aggregation import Accumulator, inspect
from fedvoice.algorithm.chain import Chain, make_chain, pieces_of, travelling
from fedvoice.algorithm.checks import Reason, Refusal, UpdateLimits, check_facts, check_statistics
from fedvoice.algorithm.doors import CLIENT_RULES
from fedvoice.algorithm.influence import UNLIMITED, Influence
from fedvoice.algorithm.links import Spooled, UpdateInfo
from fedvoice.algorithm.rounds import Work
from fedvoice.algorithm.settings import LinkConfig
from fedvoice.protocol.codec import decode, digest_of, encode
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector, Float32Array
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.simulation.clients import Population
from fedvoice.simulation.trainers import LocalUpdate, Trainer


@dataclass(frozen=True)
class RoundWork:
    """The input of every client of a round.

    weights: float32 [P]. spool: folder, shared by all workers, in which updates are kept for a
    link that needs single updates; None: nothing is spooled. influence: the round's own.
    """

    number: int
    plan: TrainingPlan
    weights: FlatVector
    limits: UpdateLimits
    links: tuple[LinkConfig, ...] = ()
    spool: Path | None = None
    influence: Influence = UNLIMITED

    @property
    def chain(self) -> Chain:
        """The update links, made anew."""
        return make_chain(
            self.links,
            max_weight=self.limits.max_client_examples,
            max_abs=self.limits.max_update_abs,
        )

    def __getstate__(self) -> dict[str, Any]:
        # Another process may unpickle it: plug-ins travel under names that can be imported there.
        return {**self.__dict__, "links": travelling(self.links), "plan": self._travelling_plan()}

    def _travelling_plan(self) -> TrainingPlan:
        rule = CLIENT_RULES.travelling(self.plan.client_rule)
        return self.plan.model_copy(update={"client_rule": rule})


@dataclass(frozen=True)
class ClientReport:
    """A client's result. `refused`: why its update was rejected (a `Reason`), or empty.

    statistics: `examples` of an accepted one is the weight that it counts with. norm: of an
    accepted update, L2.
    """

    client_id: str
    statistics: pb.Statistics
    payload_bytes: int
    refused: str = ""
    norm: float = 0.0


__all__ = [
    "ClientReport",
    "CohortPart",
    "RoundWork",
    "UpdateLimits",
    "spooled_updates",
    "train_cohort",
]


@dataclass
class CohortPart:
    """Reports in the order of the clients, and the sum of the accepted updates."""

    total: Accumulator
    reports: list[ClientReport] = field(default_factory=list)


def train_cohort(
    trainer: Trainer, population: Population, work: RoundWork, client_ids: Sequence[str]
) -> CohortPart:
    """Train these clients, in groups of the trainer's preferred size; updates are folded as they
    arrive (law 3)."""
    part = CohortPart(work.limits.accumulator(work.weights.size))
    chain = work.chain
    for start in range(0, len(client_ids), trainer.clients_together):
        group = client_ids[start : start + trainer.clients_together]
        clients = [(client_id, population.train(client_id)) for client_id in group]
        updates = trainer.train(clients, work.plan, work.weights, work.number)
        for client_id, update in zip(group, updates, strict=True):
            declared = population.size(client_id)
            part.reports.append(_fold(update, work, chain, client_id, declared, part.total))
    return part


def _fold(
    update: LocalUpdate,
    work: RoundWork,
    chain: Chain,
    client_id: str,
    declared: int,
    total: Accumulator,
) -> ClientReport:
    """Check an update as the server does, and add it to the sum if it is accepted."""
    delta, statistics = update.delta, update.statistics
    if delta is None:
        why = Reason.DIVERGED if statistics.steps else Reason.NO_EXAMPLE
        return ClientReport(client_id, statistics, 0, why.value)
    refusal = check_statistics(statistics, Work.TRAIN, work.plan, work.limits)
    if refusal is not None:
        return ClientReport(client_id, statistics, 0, _reason(refusal))
    encoding = work.plan.update_encoding
    payload_bytes = delta.nbytes
    if encoding != "float32":
        try:
            payload = encode(delta, encoding)
        except FedvoiceError as error:
            if error.code is not ErrorCode.NOT_FINITE:
                raise
            return ClientReport(client_id, statistics, 0, Reason.BEYOND_ENCODING.value)
        payload_bytes = len(payload)
        delta = decode(payload, encoding, delta.size, client_id)
    facts = inspect(pieces_of(delta), work.limits.max_update_abs)
    refusal = check_facts(facts, work.plan, work.limits, work.influence.norm_bound)
    if refusal is not None:
        return ClientReport(client_id, statistics, payload_bytes, _reason(refusal))
    counted = pb.Statistics()
    counted.CopyFrom(statistics)
    counted.examples = work.influence.weight(statistics.examples, declared)
    if work.spool is not None:
        np.save(_spooled_path(work.spool, client_id), delta)
    chain.fold(total, partial(pieces_of, delta), _told(work, client_id, counted))
    return ClientReport(client_id, counted, payload_bytes, norm=facts.norm)


def spooled_updates(work: RoundWork, reports: Sequence[ClientReport]) -> list[Spooled]:
    """The accepted updates that `train_cohort` spooled, read piece by piece when asked.

    Raises:
        FedvoiceError: `not-found` if a worker spooled to a disk of its own.
    """
    if work.spool is None:
        return []
    found = []
    for report in reports:
        if not report.refused:
            path = _spooled_path(work.spool, report.client_id)
            if not path.is_file():
                raise FedvoiceError(
                    ErrorCode.NOT_FOUND,
                    where=f"the update of {report.client_id}",
                    got=f"nothing at {path}",
                    wanted="workers that share this machine's temporary folder",
                    next_step="Run links that need single updates on one machine.",
                )
            told = _told(work, report.client_id, report.statistics)
            found.append(Spooled(told, partial(_read_spooled, path)))
    return found


def _reason(refusal: Refusal) -> str:
    return refusal.reason.value if refusal.reason else refusal.detail


def _told(work: RoundWork, client_id: str, s: pb.Statistics) -> UpdateInfo:
    return UpdateInfo(client_id, work.number, s.examples, s.steps, s.loss, work.plan)


def _spooled_path(spool: Path, client_id: str) -> Path:
    # Client ids come from the corpus; a digest is a valid file name everywhere.
    return spool / f"{digest_of(client_id.encode())}.npy"


def _read_spooled(path: Path) -> Iterable[Float32Array]:
    return pieces_of(np.load(path, mmap_mode="r"))

"""The cost books (law 7), read from the store, also while the server runs.

CFMQ = R K (P + alpha nu), nu = e N / (b K) mu (arXiv 2010.15965). Measured: R K P is the bytes of
all messages of training (check-ins with work, weights, updates; each with gRPC's 5-byte header),
R K nu the sum over accepted reports of steps * mu, mu as the phone planned it. Both are cumulative
over rounds. Evaluation, programs fetched once and check-ins without work are booked on their own.
The analytic values beside them take P = weights + payload and nu from the plan and the examples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedvoice.algorithm.rounds import (
    Phase,
    Work,
)
from fedvoice.protocol.cost import (
    Cfmq,
    analytic_cfmq,
)
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.store.database import (
    Store,
    open_read_only,
)
from fedvoice.server.store.tables import (
    EvaluationRow,
    ReportRow,
    StoredRound,
    TrafficKind,
    TrafficRow,
)


@dataclass(frozen=True)
class RoundRow:
    """One closed training round. Row 0 has the evaluation of the initial model only.

    Bytes, steps and examples are the round's own; fields `cfmq_*` add up all rounds so far.
    """

    round: int
    status: str
    """committed | abandoned; initial in row 0."""
    ending: str
    """goal | timeout | too-few | nobody."""
    clients: int
    examples: int
    steps: int
    loss: float | None
    """Mean over accepted clients, weighted by n_k."""
    bytes_down: int
    bytes_up: int
    wall_secs: float
    cfmq_communication_bytes: float
    cfmq_compute_bytes: float
    """Byte-steps, not yet multiplied by alpha."""
    cfmq_total_bytes: float
    """communication + alpha * compute."""
    cfmq_analytic_communication_bytes: float
    cfmq_analytic_compute_bytes: float
    planned_memory_bytes: int
    """mu: the largest of the round."""
    peak_memory_bytes: int
    """Measured on the phones: the largest of the round."""
    wer: float | None
    """Word errors / words over all phones that evaluated this round's weights; None: none yet."""
    evaluation_clients: int
    evaluation_words: int
    evaluation_bytes: int
    install_bytes: int
    idle_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def round_rows(store: Store | Path) -> list[RoundRow]:
    """The books of all closed rounds, in order; `store` may be the store directory.

    Raises:
        FedvoiceError: `not-found`.
    """
    if isinstance(store, Path):
        opened = open_read_only(store)
        try:
            return round_rows(opened)
        finally:
            opened.close()
    reports: dict[int, list[ReportRow]] = defaultdict(list)
    for report in store.reports(work=Work.TRAIN, verdict=int(pb.VERDICT_ACCEPTED)):
        reports[report.number].append(report)
    evaluations: dict[int, list[EvaluationRow]] = defaultdict(list)
    for evaluation in store.evaluations():
        evaluations[evaluation.number].append(evaluation)
    traffic: dict[int, list[TrafficRow]] = defaultdict(list)
    for entry in store.traffic():
        traffic[entry.number].append(entry)
    measured, analytic = Cfmq(0.0, 0.0), Cfmq(0.0, 0.0)
    rows = []
    for closed in store.rounds():
        number = closed.number
        if closed.phase not in (Phase.COMMITTED, Phase.ABANDONED) or (
            closed.work != Work.TRAIN and number != 0
        ):
            continue
        train = reports[number]
        down, up = _bytes(traffic[number], TrafficKind.TRAIN)
        alpha = float(closed.books["alpha"])
        measured = Cfmq(
            measured.communication_bytes + down + up,
            measured.computation_bytes + sum(r.steps * r.planned_memory_bytes for r in train),
            alpha,
        )
        analytic = _add(analytic, _analytic(closed, train))
        heard = evaluations[number]
        words = sum(e.words for e in heard)
        examples = sum(r.examples for r in train)
        rows.append(
            RoundRow(
                round=number,
                status=closed.phase if number else "initial",
                ending=closed.ending,
                clients=len(train),
                examples=examples,
                steps=sum(r.steps for r in train),
                loss=sum(r.examples * r.loss for r in train) / examples if examples else None,
                bytes_down=down,
                bytes_up=up,
                wall_secs=closed.ended_secs - closed.started_secs,
                cfmq_communication_bytes=measured.communication_bytes,
                cfmq_compute_bytes=measured.computation_bytes,
                cfmq_total_bytes=measured.total_bytes,
                cfmq_analytic_communication_bytes=analytic.communication_bytes,
                cfmq_analytic_compute_bytes=analytic.computation_bytes,
                planned_memory_bytes=max((r.planned_memory_bytes for r in train), default=0),
                peak_memory_bytes=max((r.peak_memory_bytes for r in train), default=0),
                wer=sum(e.word_errors for e in heard) / words if words else None,
                evaluation_clients=len(heard),
                evaluation_words=words,
                evaluation_bytes=sum(_bytes(traffic[number], TrafficKind.EVALUATE)),
                install_bytes=sum(_bytes(traffic[number], TrafficKind.INSTALL)),
                idle_bytes=sum(_bytes(traffic[number], TrafficKind.IDLE)),
            )
        )
    return rows


def evaluation_rows(store: Store | Path, round_number: int) -> list[EvaluationRow]:
    """Word errors by phone for the weights of round `round_number`, by client id.

    Raises:
        FedvoiceError: `not-found`.
    """
    if isinstance(store, Path):
        opened = open_read_only(store)
        try:
            return evaluation_rows(opened, round_number)
        finally:
            opened.close()
    return sorted(store.evaluations(number=round_number), key=lambda row: row.client_id)


def _bytes(rows: Iterable[TrafficRow], kind: TrafficKind) -> tuple[int, int]:
    chosen = [row for row in rows if row.kind == kind]
    return sum(row.bytes_down for row in chosen), sum(row.bytes_up for row in chosen)


def _analytic(closed: StoredRound, reports: list[ReportRow]) -> Cfmq:
    if not reports:
        return Cfmq(0.0, 0.0)
    clients, books = len(reports), closed.books
    examples = sum(r.examples for r in reports)
    # b = 0: all local examples in one batch.
    batch_size = books["batch_size"] or examples / clients
    return analytic_cfmq(
        rounds=1,
        clients=clients,
        payload_bytes=books["weights_bytes"] + sum(r.payload_bytes for r in reports) / clients,
        memory_bytes=sum(r.planned_memory_bytes for r in reports) / clients,
        local_epochs=books["local_epochs"],
        round_examples=examples,
        batch_size=batch_size,
        alpha=books["alpha"],
    )


def _add(a: Cfmq, b: Cfmq) -> Cfmq:
    return Cfmq(
        a.communication_bytes + b.communication_bytes,
        a.computation_bytes + b.computation_bytes,
        b.alpha,
    )

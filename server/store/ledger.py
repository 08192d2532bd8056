"""The cost books (law 7), read from the store, also while the server runs.

`algorithm.books` folds them; here the bytes are those of all messages of training (check-ins with
work, weights, updates; each with gRPC's 5-byte header). Evaluation, programs fetched once and
check-ins without work are booked on their own. The formula takes P = weights + payload.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fedvoice.algorithm.books import Costs, FormulaTerms, account
from fedvoice.algorithm.rounds import Phase, Work
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.store.database import Store, open_read_only
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
    cfmq_analytic_total_bytes: float
    planned_memory_bytes: int
    """mu: the largest of the round."""
    peak_memory_bytes: int
    """Measured by the clients: the largest of the round."""
    wer: float | None
    """Word errors / words over all clients that evaluated this round's weights; None: none yet."""
    evaluation_clients: int
    evaluation_words: int
    evaluation_bytes: int
    install_bytes: int
    idle_bytes: int
    cer: float | None = None
    """Character errors / characters over the clients that counted them; None: none did."""
    evaluation_chars: int = 0


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
    costs = Costs()
    rows = []
    for closed in store.rounds():
        number = closed.number
        if closed.phase not in (Phase.COMMITTED, Phase.ABANDONED) or (
            closed.work != Work.TRAIN and number != 0
        ):
            continue
        train = reports[number]
        down, up = _bytes(traffic[number], TrafficKind.TRAIN)
        closing = account(
            costs,
            train,
            bytes_down=down,
            bytes_up=up,
            alpha=float(closed.books["alpha"]),
            formula=_formula(closed, train),
        )
        costs = closing.costs
        heard = evaluations[number]
        words = sum(e.words for e in heard)
        chars = sum(e.chars or 0 for e in heard)
        rows.append(
            RoundRow(
                round=number,
                status=closed.phase if number else "initial",
                ending=closed.ending,
                clients=closing.clients,
                examples=closing.examples,
                steps=closing.steps,
                loss=closing.loss,
                bytes_down=down,
                bytes_up=up,
                wall_secs=closed.ended_secs - closed.started_secs,
                cfmq_communication_bytes=costs.measured.communication_bytes,
                cfmq_compute_bytes=costs.measured.computation_bytes,
                cfmq_total_bytes=costs.measured.total_bytes,
                cfmq_analytic_communication_bytes=costs.analytic.communication_bytes,
                cfmq_analytic_compute_bytes=costs.analytic.computation_bytes,
                cfmq_analytic_total_bytes=costs.analytic.total_bytes,
                planned_memory_bytes=closing.planned_memory_bytes,
                peak_memory_bytes=closing.peak_memory_bytes,
                wer=sum(e.word_errors for e in heard) / words if words else None,
                evaluation_clients=len(heard),
                evaluation_words=words,
                evaluation_bytes=sum(_bytes(traffic[number], TrafficKind.EVALUATE)),
                install_bytes=sum(_bytes(traffic[number], TrafficKind.INSTALL)),
                idle_bytes=sum(_bytes(traffic[number], TrafficKind.IDLE)),
                cer=sum(e.char_errors or 0 for e in heard) / chars if chars else None,
                evaluation_chars=chars,
            )
        )
    return rows


def evaluation_rows(store: Store | Path, round_number: int) -> list[EvaluationRow]:
    """Word and character errors by client for the weights of round `round_number`, by client id.

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


def _formula(closed: StoredRound, reports: list[ReportRow]) -> FormulaTerms:
    kept = closed.books
    payload_bytes = sum(r.payload_bytes for r in reports) / max(1, len(reports))
    return FormulaTerms(
        payload_bytes=kept["weights_bytes"] + payload_bytes,
        local_epochs=kept["local_epochs"],
        batch_size=kept["batch_size"],
    )

"""The cost books (law 7), read from the store, also while the server runs.

`algorithm.books` folds them; here the bytes are those of all messages of training (check-ins with
work, weights, updates; each with gRPC's 5-byte header). Evaluation, programs fetched once and
check-ins without work are booked on their own. The formula takes P = weights + payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedvoice.algorithm.books import Costs, FormulaTerms, account
from fedvoice.algorithm.rounds import Phase, Work
from fedvoice.protocol.cost import Cfmq
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.store.database import Store, open_read_only
from fedvoice.server.store.tables import EvaluationRow, StoredRound, TrafficKind

CLOSING = "closing"
"""Where a closed round's `books` have its sums; rounds of 0.1.0 have none."""


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
    word_errors: int = 0
    char_errors: int = 0


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
    traffic: dict[tuple[int, str], tuple[int, int]] = {
        (row.number, row.kind): (row.bytes_down, row.bytes_up) for row in store.traffic_totals()
    }
    stored = [row for row in store.rounds() if row.phase in (Phase.COMMITTED, Phase.ABANDONED)]
    heard = {
        closed.number: evaluated(store, closed) for closed in stored if closed.work == Work.EVALUATE
    }
    costs = Costs()
    rows = []
    for closed in stored:
        number = closed.number
        if closed.work != Work.TRAIN and number != 0:
            continue
        trained = _trained(store, closed) if closed.work == Work.TRAIN else Trained()
        down, up = traffic.get((number, TrafficKind.TRAIN), (0, 0))
        costs = _added(costs, trained, down + up, float(closed.books["alpha"]))
        errors = heard.get(number, Evaluated())
        words, chars = errors.words, errors.chars
        rows.append(
            RoundRow(
                round=number,
                status=closed.phase if number else "initial",
                ending=closed.ending,
                clients=trained.clients,
                examples=trained.examples,
                steps=trained.steps,
                loss=trained.loss,
                bytes_down=down,
                bytes_up=up,
                wall_secs=closed.ended_secs - closed.started_secs,
                cfmq_communication_bytes=costs.measured.communication_bytes,
                cfmq_compute_bytes=costs.measured.computation_bytes,
                cfmq_total_bytes=costs.measured.total_bytes,
                cfmq_analytic_communication_bytes=costs.analytic.communication_bytes,
                cfmq_analytic_compute_bytes=costs.analytic.computation_bytes,
                cfmq_analytic_total_bytes=costs.analytic.total_bytes,
                planned_memory_bytes=trained.planned_memory_bytes,
                peak_memory_bytes=trained.peak_memory_bytes,
                wer=errors.word_errors / words if words else None,
                evaluation_clients=errors.clients,
                evaluation_words=words,
                evaluation_bytes=sum(traffic.get((number, TrafficKind.EVALUATE), ())),
                install_bytes=sum(traffic.get((number, TrafficKind.INSTALL), ())),
                idle_bytes=sum(traffic.get((number, TrafficKind.IDLE), ())),
                cer=errors.char_errors / chars if chars else None,
                evaluation_chars=chars,
                word_errors=errors.word_errors,
                char_errors=errors.char_errors,
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


@dataclass(frozen=True)
class Trained:
    """Sums over the accepted reports of a training round; costs without those of bytes."""

    clients: int = 0
    examples: int = 0
    steps: int = 0
    loss: float | None = None
    planned_memory_bytes: int = 0
    peak_memory_bytes: int = 0
    computation_bytes: float = 0.0
    analytic_communication_bytes: float = 0.0
    analytic_computation_bytes: float = 0.0


@dataclass(frozen=True)
class Evaluated:
    """Sums over the reports of an evaluation."""

    clients: int = 0
    word_errors: int = 0
    words: int = 0
    char_errors: int = 0
    chars: int = 0


def closing_sums(store: Store, number: int, work: str, books: Mapping[str, Any]) -> dict[str, Any]:
    """The sums of a round that takes no more reports, as JSON: the books read them, and not every
    report of every round."""
    if work == Work.EVALUATE:
        return asdict(_evaluated_by(store, number))
    return asdict(_trained_by(store, number, books))


def _trained(store: Store, closed: StoredRound) -> Trained:
    kept = closed.books.get(CLOSING)
    return Trained(**kept) if kept else _trained_by(store, closed.number, closed.books)


def evaluated(store: Store, closed: StoredRound) -> Evaluated:
    """The sums of a closed evaluation."""
    kept = closed.books.get(CLOSING)
    return Evaluated(**kept) if kept else _evaluated_by(store, closed.number)


def _trained_by(store: Store, number: int, books: Mapping[str, Any]) -> Trained:
    reports = store.reports(number=number, work=Work.TRAIN, verdict=int(pb.VERDICT_ACCEPTED))
    payload_bytes = sum(r.payload_bytes for r in reports) / max(1, len(reports))
    own = account(
        Costs(),
        reports,
        bytes_down=0,
        bytes_up=0,
        alpha=float(books["alpha"]),
        formula=FormulaTerms(
            payload_bytes=books["weights_bytes"] + payload_bytes,
            local_epochs=books["local_epochs"],
            batch_size=books["batch_size"],
        ),
    )
    return Trained(
        clients=own.clients,
        examples=own.examples,
        steps=own.steps,
        loss=own.loss,
        planned_memory_bytes=own.planned_memory_bytes,
        peak_memory_bytes=own.peak_memory_bytes,
        computation_bytes=own.costs.measured.computation_bytes,
        analytic_communication_bytes=own.costs.analytic.communication_bytes,
        analytic_computation_bytes=own.costs.analytic.computation_bytes,
    )


def _evaluated_by(store: Store, number: int) -> Evaluated:
    heard = store.evaluations(number=number)
    return Evaluated(
        clients=len(heard),
        word_errors=sum(e.word_errors for e in heard),
        words=sum(e.words for e in heard),
        char_errors=sum(e.char_errors or 0 for e in heard),
        chars=sum(e.chars or 0 for e in heard),
    )


def _added(before: Costs, own: Trained, moved_bytes: int, alpha: float) -> Costs:
    measured, analytic = before.measured, before.analytic
    return Costs(
        Cfmq(
            measured.communication_bytes + moved_bytes,
            measured.computation_bytes + own.computation_bytes,
            alpha,
        ),
        Cfmq(
            analytic.communication_bytes + own.analytic_communication_bytes,
            analytic.computation_bytes + own.analytic_computation_bytes,
            alpha,
        ),
    )

"""The cost books (law 7), read from the store, also while the server runs.

`algorithm.books` folds them; here the bytes are those of all messages of training (check-ins with
work, weights, updates; each with gRPC's 5-byte header). Evaluation, programs fetched once and
check-ins without work are booked on their own. The formula takes P = weights + payload.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedvoice.algorithm.books import Costs, FormulaTerms, account
from fedvoice.algorithm.rounds import Phase, Work
from fedvoice.protocol.cost import Cfmq
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.store.database import Store, open_read_only
from fedvoice.server.store.tables import EvaluationRow, StoredRound, TrafficKind, TrafficTotalRow

CLOSING = "closing"
"""Where a closed round's `books` have its sums; rounds of 0.1.0 have none."""
_SO_FAR = "so_far"
_CLOSED = (Phase.COMMITTED, Phase.ABANDONED)


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
    with _opened(store) as opened:
        totals: dict[int, list[TrafficTotalRow]] = defaultdict(list)
        for total in opened.traffic_totals():
            totals[total.number].append(total)
        stored = [row for row in opened.rounds() if row.phase in _CLOSED]
        heard = {row.number: evaluated(opened, row) for row in stored if row.work == Work.EVALUATE}
        sums, moved_bytes, rows = SoFar(), 0, []
        for closed in stored:
            if closed.work != Work.TRAIN and closed.number != 0:
                continue
            own = trained(opened, closed) if closed.work == Work.TRAIN else Trained()
            sums, of_kind = sums.added(own), _of_kind(totals[closed.number])
            moved_bytes += sum(of_kind[TrafficKind.TRAIN])
            errors = heard.get(closed.number, Evaluated())
            rows.append(_row(closed, own, errors, of_kind, sums, moved_bytes))
        return rows


def round_row(store: Store | Path, number: int) -> RoundRow | None:
    """The books of one closed round, as `round_rows` has them; None: it is open, or unknown. They
    come from running sums: a server of many rounds must not read all of them at each one's end.

    Raises:
        FedvoiceError: `not-found`.
    """
    with _opened(store) as opened:
        stored = [row for row in opened.find(StoredRound, number=number) if row.phase in _CLOSED]
        of_work = {row.work: row for row in stored}
        evaluation = of_work.get(Work.EVALUATE)
        closed = of_work.get(Work.TRAIN) or (evaluation if number == 0 else None)
        if closed is None:
            return None
        own, sums = Trained(), SoFar()
        if closed.work == Work.TRAIN:
            own, kept = trained(opened, closed), closed.books.get(CLOSING, {}).get(_SO_FAR)
            if kept is None:  # closed by an older version
                return next(row for row in round_rows(opened) if row.round == number)
            sums = SoFar(**kept)
        return _row(
            closed,
            own,
            Evaluated() if evaluation is None else evaluated(opened, evaluation),
            _of_kind(opened.find(TrafficTotalRow, number=number)),
            sums,
            opened.moved_bytes(TrafficKind.TRAIN, number),
        )


def _of_kind(totals: Iterable[TrafficTotalRow]) -> dict[str, tuple[int, int]]:
    """Bytes down and up by kind."""
    none: dict[str, tuple[int, int]] = dict.fromkeys(TrafficKind, (0, 0))
    return none | {row.kind: (row.bytes_down, row.bytes_up) for row in totals}


def _row(
    closed: StoredRound,
    own: Trained,
    errors: Evaluated,
    traffic: Mapping[str, tuple[int, int]],
    sums: SoFar,
    moved_bytes: int,
) -> RoundRow:
    """sums, moved_bytes: of all rounds up to this one."""
    costs = sums.costs(moved_bytes, float(closed.books["alpha"]))
    down, up = traffic[TrafficKind.TRAIN]
    words, chars = errors.words, errors.chars
    return RoundRow(
        round=closed.number,
        status=closed.phase if closed.number else "initial",
        ending=closed.ending,
        clients=own.clients,
        examples=own.examples,
        steps=own.steps,
        loss=own.loss,
        bytes_down=down,
        bytes_up=up,
        wall_secs=closed.ended_secs - closed.started_secs,
        cfmq_communication_bytes=costs.measured.communication_bytes,
        cfmq_compute_bytes=costs.measured.computation_bytes,
        cfmq_total_bytes=costs.measured.total_bytes,
        cfmq_analytic_communication_bytes=costs.analytic.communication_bytes,
        cfmq_analytic_compute_bytes=costs.analytic.computation_bytes,
        cfmq_analytic_total_bytes=costs.analytic.total_bytes,
        planned_memory_bytes=own.planned_memory_bytes,
        peak_memory_bytes=own.peak_memory_bytes,
        wer=errors.word_errors / words if words else None,
        evaluation_clients=errors.clients,
        evaluation_words=words,
        evaluation_bytes=sum(traffic[TrafficKind.EVALUATE]),
        install_bytes=sum(traffic[TrafficKind.INSTALL]),
        idle_bytes=sum(traffic[TrafficKind.IDLE]),
        cer=errors.char_errors / chars if chars else None,
        evaluation_chars=chars,
        word_errors=errors.word_errors,
        char_errors=errors.char_errors,
    )


@contextmanager
def _opened(store: Store | Path) -> Iterator[Store]:
    """A store as it is; a directory's is opened for reading."""
    if isinstance(store, Store):
        yield store
        return
    opened = open_read_only(store)
    try:
        yield opened
    finally:
        opened.close()


def evaluation_rows(store: Store | Path, round_number: int) -> list[EvaluationRow]:
    """Word and character errors by client for the weights of round `round_number`, by client id.

    Raises:
        FedvoiceError: `not-found`.
    """
    with _opened(store) as opened:
        return sorted(opened.evaluations(number=round_number), key=lambda row: row.client_id)


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
class SoFar:
    """Running sums of `Trained` over all rounds up to one, which is stored with them."""

    computation_bytes: float = 0.0
    analytic_communication_bytes: float = 0.0
    analytic_computation_bytes: float = 0.0

    def added(self, own: Trained) -> SoFar:
        """With one more round."""
        return SoFar(
            self.computation_bytes + own.computation_bytes,
            self.analytic_communication_bytes + own.analytic_communication_bytes,
            self.analytic_computation_bytes + own.analytic_computation_bytes,
        )

    def costs(self, moved_bytes: int, alpha: float) -> Costs:
        """CFMQ, beside the bytes that training has moved."""
        return Costs(
            Cfmq(float(moved_bytes), self.computation_bytes, alpha),
            Cfmq(self.analytic_communication_bytes, self.analytic_computation_bytes, alpha),
        )

    def kept_with(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        """`closing_sums` and these, as JSON."""
        return {**sums, _SO_FAR: asdict(self)}


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


def trained(store: Store, closed: StoredRound) -> Trained:
    """The sums of a closed training round."""
    kept = closed.books.get(CLOSING)
    if not kept:
        return _trained_by(store, closed.number, closed.books)
    return Trained(**{key: value for key, value in kept.items() if key != _SO_FAR})


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

"""The results of a run, read from the server's books; also while the server runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

from fedvoice.protocol.scoring import ErrorCounts
from fedvoice.reporting.results import Books, RoundResult
from fedvoice.server.store.database import open_read_only
from fedvoice.server.store.ledger import RoundRow, round_rows
from fedvoice.server.store.tables import EvaluationRow


def read_books(store_dir: Path, held_out: Collection[str] = ()) -> Books:
    """The books of all closed rounds.

    Args:
        held_out: client ids whose errors count as `heldout_wer` and `heldout_cer`; a server in the
            field does not know of any.
    """
    before = _NOT_EVALUATED
    rounds = []
    rows = round_rows(store_dir)
    heard = _by_round(store_dir) if held_out else {}
    for row in rows:
        errors = _errors(heard[row.round], held_out) if row.round in heard else _all_own(row)
        if row.round == 0:
            before = errors
        else:
            rounds.append(_result(row, *errors))
    own, others = before
    return Books(
        rounds,
        own.percent,
        others.percent,
        evaluation_bytes=sum(row.evaluation_bytes for row in rows),
        install_bytes=sum(row.install_bytes for row in rows),
        idle_bytes=sum(row.idle_bytes for row in rows),
        initial_cer=own.char_percent,
        initial_heldout_cer=others.char_percent,
    )


def errors_of(rows: Iterable[EvaluationRow]) -> ErrorCounts:
    """The errors of clients together; characters: of those that counted them."""
    errors = (
        ErrorCounts(row.word_errors, row.words, row.char_errors or 0, row.chars or 0)
        for row in rows
    )
    return sum(errors, ErrorCounts(0, 0))


_NOT_EVALUATED = (ErrorCounts(0, 0), ErrorCounts(0, 0))


def _by_round(store_dir: Path) -> dict[int, list[EvaluationRow]]:
    store = open_read_only(store_dir)
    try:
        found: dict[int, list[EvaluationRow]] = defaultdict(list)
        for row in store.evaluations():
            found[row.number].append(row)
        return found
    finally:
        store.close()


def _all_own(row: RoundRow) -> tuple[ErrorCounts, ErrorCounts]:
    own = ErrorCounts(row.word_errors, row.evaluation_words, row.char_errors, row.evaluation_chars)
    return own, ErrorCounts(0, 0)


def _errors(
    rows: Collection[EvaluationRow], held_out: Collection[str]
) -> tuple[ErrorCounts, ErrorCounts]:
    """Of the clients that train, and of others."""
    own, others = (
        errors_of(e for e in rows if (e.client_id in held_out) == of_held_out)
        for of_held_out in (False, True)
    )
    return own, others


def _result(row: RoundRow, own: ErrorCounts, others: ErrorCounts) -> RoundResult:
    return RoundResult(
        round=row.round,
        loss=row.loss,
        wer=own.percent,
        heldout_wer=others.percent,
        clients=row.clients,
        examples=row.examples,
        steps=row.steps,
        bytes_down=row.bytes_down,
        bytes_up=row.bytes_up,
        cfmq_communication_bytes=row.cfmq_communication_bytes,
        cfmq_compute_bytes=row.cfmq_compute_bytes,
        wall_secs=row.wall_secs,
        memory_bytes=row.planned_memory_bytes,
        peak_memory_bytes=row.peak_memory_bytes,
        analytic_cfmq_bytes=row.cfmq_analytic_total_bytes,
        end=f"{row.status}, {row.ending}",
        cer=own.char_percent,
        heldout_cer=others.char_percent,
    )

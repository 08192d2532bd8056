"""The results of a run, read from the server's books; also while the server runs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from fedvoice.reporting.results import Books, RoundResult
from fedvoice.server.store.ledger import RoundRow, evaluation_rows, round_rows


def read_books(store_dir: Path, held_out: Collection[str] = ()) -> Books:
    """The books of all closed rounds.

    Args:
        held_out: client ids whose word errors count as `heldout_wer`; a server in the field does
            not know of any.
    """
    initial: tuple[float | None, float | None] = (None, None)
    rounds = []
    rows = round_rows(store_dir)
    for row in rows:
        rates = _word_error_rates(store_dir, row, held_out)
        if row.round == 0:
            initial = rates
        else:
            rounds.append(_result(row, *rates))
    return Books(
        rounds,
        *initial,
        evaluation_bytes=sum(row.evaluation_bytes for row in rows),
        install_bytes=sum(row.install_bytes for row in rows),
        idle_bytes=sum(row.idle_bytes for row in rows),
    )


def _word_error_rates(
    store_dir: Path, row: RoundRow, held_out: Collection[str]
) -> tuple[float | None, float | None]:
    if not row.evaluation_clients:
        return None, None
    rows = evaluation_rows(store_dir, row.round)

    def percent(of_held_out: bool) -> float | None:
        chosen = [e for e in rows if (e.client_id in held_out) == of_held_out]
        words = sum(e.words for e in chosen)
        return 100.0 * sum(e.word_errors for e in chosen) / words if words else None

    return percent(False), percent(True)


def _result(row: RoundRow, wer: float | None, heldout_wer: float | None) -> RoundResult:
    return RoundResult(
        round=row.round,
        loss=row.loss,
        wer=wer,
        heldout_wer=heldout_wer,
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
    )

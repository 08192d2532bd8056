"""A round's results, as tests of reports need them."""

from __future__ import annotations

from typing import Any

from fedvoice.reporting.results import RoundResult


def a_round(number: int, **fields: Any) -> RoundResult:
    """Round `number` of a run of equal rounds, not evaluated; `fields` replace what it has."""
    usual: dict[str, Any] = {
        "loss": 3.0 / number,
        "wer": None,
        "heldout_wer": None,
        "clients": 10,
        "examples": 200,
        "steps": 30,
        "bytes_down": 16_000_000,
        "bytes_up": 16_000_000,
        "cfmq_communication_bytes": 32e6 * number,
        "cfmq_compute_bytes": 2e8 * number,
        "wall_secs": 1.5,
        "memory_bytes": 7_000_000,
        "peak_memory_bytes": 9_000_000,
        "analytic_cfmq_bytes": 2.3e8 * number,
        "end": "goal",
    }
    return RoundResult(round=number, **{**usual, **fields})

"""The error rates that a run may have, in the order in which tables and figures show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fedvoice.reporting.results import RoundResult


@dataclass(frozen=True)
class Rate:
    """An error rate in percent. name: the field of `RoundResult` and of `final`; head: in tables;
    label: in words."""

    name: str
    head: str
    label: str


RATES = (
    Rate("wer", "WER", "WER, phones' own test speech"),
    Rate("heldout_wer", "held-out WER", "WER, speakers never trained on"),
    Rate("cer", "CER", "CER, phones' own test speech"),
    Rate("heldout_cer", "held-out CER", "CER, speakers never trained on"),
)


def rates_in(row: RoundResult) -> dict[str, float]:
    """The rates that were measured after a round, by name."""
    found = {rate.name: rate_of(row, rate) for rate in RATES}
    return {name: value for name, value in found.items() if value is not None}


def rate_of(row: RoundResult, rate: Rate) -> float | None:
    """One rate of a round; None: not measured."""
    value: Any = getattr(row, rate.name, None)
    return None if value is None else float(value)

"""The live table can be read on the terminals that people have."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from fedvoice.reporting.results import Books, RoundResult
from fedvoice.reporting.view import RoundTable

LATE = RoundResult(
    round=1000,
    loss=12.345,
    wer=100.0,
    heldout_wer=98.7,
    clients=100,
    examples=200,
    steps=3000,
    bytes_down=160_000_000,
    bytes_up=170_000_000,
    cfmq_communication_bytes=1.23e12,
    cfmq_compute_bytes=4.56e12,
    wall_secs=123.4,
)
BOOKS = Books([replace(LATE, round=n) for n in (998, 999, 1000)], 100.0, 97.9, 0, 0, 0)


@pytest.mark.parametrize("columns", [80, 120])
def test_no_number_is_cut_or_wrapped(columns):
    out = io.StringIO()
    console = Console(file=out, width=columns, force_terminal=True, color_system=None)
    with RoundTable(console, 1000) as table:
        table.show(BOOKS)
    rows = [line.strip("│ \n") for line in out.getvalue().splitlines() if "12.345" in line]
    assert rows  # a terminal is drawn on several times
    words = rows[-1].replace("│", " ").split()
    assert words[:5] == ["1000", "100", "12.345", "100.0", "98.7"]
    assert words[-1] == "123.4"
    assert "1.23 TB" in rows[-1]
    assert "4.56 TB" in rows[-1]
    assert "97.9" in out.getvalue()
    assert "…" not in out.getvalue()

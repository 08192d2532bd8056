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


SPELT = replace(
    BOOKS,
    rounds=[replace(row, cer=88.8, heldout_cer=77.7) for row in BOOKS.rounds],
    initial_cer=96.5,
)


@pytest.mark.parametrize(
    ("columns", "characters"), [(80, False), (115, False), (116, True), (120, True)]
)
def test_characters_have_a_column_where_there_is_room(columns, characters):
    out = io.StringIO()
    console = Console(file=out, width=columns, force_terminal=True, color_system=None)
    with RoundTable(console, 1000) as table:
        table.show(SPELT)
    rows = [line.strip("│ \n") for line in out.getvalue().splitlines() if "12.345" in line]
    words = rows[-1].replace("│", " ").split()
    rates = ["100.0", "98.7", "88.8"] if characters else ["100.0", "98.7"]
    assert words[3 : 4 + len(rates)] == [*rates, "160"]
    assert (words[-1], "4.56 TB" in rows[-1], "…" in out.getvalue()) == ("123.4", True, False)
    assert ("96.5" in out.getvalue()) == characters


def test_lines_of_a_log_have_characters_too():
    out = io.StringIO()
    with RoundTable(Console(file=out, width=80), 1000) as table:
        table.show(SPELT)
    head, initial, *rows = out.getvalue().splitlines()
    assert head.split()[3:8] == ["WER", "%", "held-out", "%", "CER"]
    assert initial.split() == ["0", "100.0", "97.9", "96.5"]
    assert [row.split()[3:6] for row in rows] == [["100.0", "98.7", "88.8"]] * 3


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

"""What an experiment prints: whole lines for files, a table that fits for terminals."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from fedvoice.laboratory.experiment.forecast import Standing
from fedvoice.laboratory.experiment.summary import Line, summarise, summary_markdown
from fedvoice.laboratory.experiment.view import ExperimentView, show_plan, show_summary
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.simulation.abandoned import STUCK_ROUNDS
from tests.laboratory.test_outcomes import an_outcome


def two_lines() -> list[Line]:
    long_name = an_outcome(50, 24, arm="non-iid_with_a_data_limit_and_noise")
    return summarise([an_outcome(50, 20), an_outcome(40, 10, seed=1), long_name])


def a_console(width: int, *, terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    # Without colours, so that what is tested is the text.
    return Console(file=text, width=width, force_terminal=terminal, no_color=True), text


def test_a_file_gets_the_markdown_table_with_whole_lines() -> None:
    console, text = a_console(40, terminal=False)
    show_summary(console, two_lines())
    assert text.getvalue().strip() == summary_markdown(two_lines()).strip()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_terminal_gets_a_table_that_fits(width: int) -> None:
    console, text = a_console(width, terminal=True)
    show_summary(console, two_lines())
    plain = [line.rstrip() for line in _without_escapes(text.getvalue()).splitlines()]
    assert max(map(len, plain)) <= width
    (row,) = (line for line in plain if line.lstrip().startswith("arm a"))
    assert "15.0 ± 7.1" in row
    assert "16.00" in row
    shown = "\n".join(plain)
    assert "held out" not in shown  # nobody is held out: an empty column
    assert ("memory x steps" in shown) == (width == 200)


def test_a_plan_says_what_is_done_and_what_the_rest_takes() -> None:
    console, text = a_console(80, terminal=False)
    trial = an_outcome().trial
    standings = [
        Standing(trial, True, True, secs=12.0),
        Standing(trial, False, True, expected_secs=3700.0),
        Standing(trial, False, False, expected_secs=3700.0),
    ]
    show_plan(console, standings, 2)
    done, begun, to_do, told = text.getvalue().splitlines()
    assert done.split() == ["done", "12", "s", "a", "seed", "0"]
    assert begun.split()[:4] == ["begun", "about", "3700", "s"]
    assert to_do.startswith("to do ")
    assert told == "2 of 3 to do: about 1:01:40 with 2 at a time"


def test_each_trial_that_ends_has_a_line_of_its_own() -> None:
    console, text = a_console(30, terminal=False)
    good = an_outcome(50, 20)
    error = FedvoiceError(
        ErrorCode.MISSING_AUDIO, where="m.jsonl, line 1", got="x", wanted="y", next_step="z"
    )
    with ExperimentView(console, 2, "wer") as view:
        view.finished(good.trial, good, None)
        view.finished(an_outcome(arm="b").trial, None, error)
    first, second = text.getvalue().strip().splitlines()
    assert first == "[1/2] a seed 0: 20.00 % after 4 rounds, 20 s"
    assert second.startswith("[2/2] b seed 0: failed, m.jsonl, line 1: got x")


def test_a_trial_that_ended_because_nothing_counted_any_more_says_so() -> None:
    console, text = a_console(30, terminal=False)
    moved = an_outcome(50)
    dead = replace(moved.results.rounds[0], clients=0, end="abandoned, too-few")
    rows = [*moved.results.rounds, *[dead] * STUCK_ROUNDS]
    outcome = replace(moved, results=replace(moved.results, rounds=rows))
    with ExperimentView(console, 1, "wer") as view:
        view.finished(outcome.trial, outcome, None)
    told = "50.00 % after 12 rounds, no update accepted in the last ones, 60 s"
    assert text.getvalue().strip() == f"[1/1] a seed 0: {told}"


def _without_escapes(text: str) -> str:
    from rich.text import Text

    return Text.from_ansi(text).plain

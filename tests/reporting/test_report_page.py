"""What a run's report says, and that it can be read on a phone and on a desk, by day and night."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedvoice.laboratory.experiment.config import ExperimentConfig
from fedvoice.laboratory.experiment.report import write_tables
from fedvoice.laboratory.experiment.runner import Gathered
from fedvoice.laboratory.experiment.summary import summarise
from fedvoice.reporting.page import DARK, LIGHT, SERIES, table, themed
from fedvoice.reporting.report import write_report
from fedvoice.reporting.results import Results
from fedvoice.reporting.words import Transcript, marked, read_transcripts, write_transcripts
from tests.laboratory.test_outcomes import an_outcome
from tests.reporting.pages import a_run, transcripts
from tests.rounds import a_round


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return write_report(folder, a_run(folder))


def test_it_says_what_was_used_and_left_out_with_the_first_file(report: Path) -> None:
    page = report.read_text()
    assert "left out: unknown-token</td><td>12</td><td>corpus/ben/&lt;7&gt;.wav" in page
    assert "15 utterances left out" in page
    assert "Warning: the word &#x27;seven&#x27; is in the test speech alone" in page
    assert "most examples of a client</td><td>41" in page


def test_it_shows_the_worst_and_typical_utterances_by_speaker(report: Path) -> None:
    page = report.read_text()
    assert "Łukasz: 3 of 3 words wrong" in page
    assert "60 of 300 test utterances, spread over speakers" in page
    assert "<del>ile kosztuje chleb</del>" in page
    first = page.index("Error rate by speaker")
    assert page.index("Łukasz", first) < page.index("speaker 1<", first)
    row = page[page.index("ولد", first) :]
    assert re.findall(r">(\d+\.\d)<", row)[:2] == [
        "50.0",
        "20.0",
    ]  # 1 of 2 words, 2 of 10 letters


def test_every_figure_has_a_caption_and_its_values(report: Path) -> None:
    page = report.read_text()
    figures = re.findall(r"<figure>.*?</figure>", page, re.DOTALL)
    assert len(figures) == 4
    for figure in figures:
        caption = re.search(r"<figcaption>(.*?)</figcaption>", figure)
        assert caption is not None
        assert len(caption[1].split()) > 10
        assert '<circle class="hit"' in figure
        assert "viewBox" in figure
        assert not re.search(r"<svg[^>]* (width|height)=", figure)
    assert "round 30\nWER 3.3 %" in figures[0]
    assert "CFMQ is the cost of a federated run in one number" in page


def test_nothing_is_fetched_and_what_people_wrote_is_text(report: Path) -> None:
    page = report.read_text()
    assert not re.search(r"""(?:src|href)=["'](?!#)""", page)
    assert not re.search(r"@import|url\((?!#)", page)
    assert "<of>" not in page
    assert "<kitten>" not in page


def test_a_run_that_never_learned_says_what_is_usual(tmp_path: Path) -> None:
    rounds = [a_round(1, loss=None, wer=100.0)]
    page = write_report(tmp_path, Results(rounds, {"wer": 100.0}, {})).read_text()
    assert "The error rate never left 100 %" in page
    assert "What was recognised" not in page


@pytest.mark.parametrize(
    ("reference", "hypothesis", "said", "heard"),
    [
        ("one two", "one two", "one two", "one two"),
        ("one two", "one six", "one <mark>two</mark>", "one <mark>six</mark>"),
        ("one two", "one", "one <del>two</del>", "one"),
        ("one", "one two", "one", "one <ins>two</ins>"),
        ("one", "", "<del>one</del>", "(nothing)"),
        ("<b>", "&", "<mark>&lt;b&gt;</mark>", "<mark>&amp;</mark>"),
    ],
)
def test_errors_are_marked(reference: str, hypothesis: str, said: str, heard: str) -> None:
    assert marked(Transcript("wer", "a", reference, hypothesis)) == (said, heard)


def test_transcripts_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_transcripts(tmp_path) == []
    write_transcripts(tmp_path, transcripts())
    assert read_transcripts(tmp_path) == transcripts()


def test_figures_follow_the_colours_of_the_page() -> None:
    assert set(LIGHT) == set(DARK)
    drawn = f'<svg width="360pt" height="200pt" viewBox="0 0 9 9"><g style="fill: {SERIES[0]}"/>'
    assert themed(drawn) == '<svg viewBox="0 0 9 9"><g style="fill: var(--c1)"/>'
    assert "&lt;i&gt;" in table(["a"], [["<i>"]])


def chromium() -> str | None:
    """A browser of this machine."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright package")
    path = chromium()
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=arguments)
        yield started
        started.close()


TOO_WIDE = """() => [...document.querySelectorAll("body *")].filter((e) => {
  if (e.closest(".scroll, pre, #tip") && !e.matches(".scroll, pre")) return false;
  const box = e.getBoundingClientRect();
  return box.width && (box.right > document.documentElement.clientWidth + 1 || box.left < -1);
}).map((e) => e.tagName + "." + e.className)"""
SMALLEST_LETTER_PX = """() => Math.min(...[...document.querySelectorAll("figure text")].map((t) =>
  parseFloat(getComputedStyle(t).fontSize) * Math.hypot(t.getScreenCTM().a, t.getScreenCTM().b)))"""
COLOURS = """() => { const css = (e) => getComputedStyle(e);
  return [css(document.body).backgroundColor, css(document.body).color,
          css(document.querySelector("figure text")).fill]; }"""


def lightness(colour: str) -> float:
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of an experiment of three arms."""
    folder = tmp_path_factory.mktemp("experiment")
    arms = [summarise([an_outcome(90, 50, 40 - place)], {})[0] for place in range(3)]
    names = ("speakers", "iid", "an arm whose label is rather long, as people write them")
    lines = [replace(own, arm=name, label=name) for own, name in zip(arms, names, strict=True)]
    base = {"data": {"corpus": "mnist", "folder": "."}, "task": {}}
    fields = {"name": "three", "base": base, "seeds": [0], "metric": "wer"}
    config = ExperimentConfig.model_validate(fields)
    outcomes = [outcome for line in lines for outcome in line.outcomes]
    return write_tables(folder, [config], Gathered(outcomes, []), lines)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("which", ["report", "comparison"])
def test_the_page_fits_a_phone_and_a_desk_by_day_and_night(
    which: str, request: pytest.FixtureRequest, browser: Any, width: int, scheme: str
) -> None:
    report: Path = request.getfixturevalue(which)
    requests: list[str] = []
    wrong: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, service_workers="block"
    )
    page = context.new_page()
    page.on("request", lambda asked: requests.append(asked.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.goto(report.as_uri())
    page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{which}-{width}-{scheme}.png", full_page=True)
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") == width
    assert page.evaluate(SMALLEST_LETTER_PX) >= 8
    paper, ink, letters = page.evaluate(COLOURS)
    assert (lightness(paper) > 0.9) == (scheme == "light")
    assert abs(lightness(paper) - lightness(ink)) > 0.6
    assert abs(lightness(paper) - lightness(letters)) > 0.6

    hit = page.locator("figure .hit").first
    hit.scroll_into_view_if_needed()
    box = hit.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    shown = page.locator("#tip").inner_text().splitlines()
    assert shown == ["round 0", "WER 100.0 %"] if which == "report" else shown[0] == "speakers"
    tip = page.locator("#tip").bounding_box()
    assert tip["x"] + tip["width"] <= width
    assert wrong == []
    assert requests == [report.as_uri()]
    context.close()

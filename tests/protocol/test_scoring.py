"""Word and character errors are those of jiwer."""

from __future__ import annotations

import json
from pathlib import Path

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvoice.protocol.scoring import CharacterErrors, count_character_errors, count_word_errors

TABLE = json.loads(Path(__file__).with_name("characters.json").read_text(encoding="utf-8"))
"""Kotlin's `ErrorsTest` reads it, too."""

texts = st.text(alphabet="ab今天😀𠮷é\u0301 \t\u3000\u0085", max_size=8)
pairs = st.lists(st.tuples(texts, texts), min_size=1, max_size=5)


@pytest.mark.parametrize("entry", TABLE, ids=range(len(TABLE)))
def test_character_errors_by_hand(entry: dict[str, str | int]) -> None:
    found = count_character_errors([str(entry["reference"])], [str(entry["hypothesis"])])
    assert (found.char_errors, found.chars) == (entry["char_errors"], entry["chars"])


@given(pairs)
def test_error_rates_are_those_of_jiwer(said: list[tuple[str, str]]) -> None:
    references, hypotheses = map(list, zip(*said, strict=True))
    characters = count_character_errors(references, hypotheses)
    if characters.chars:
        assert characters.cer == jiwer.cer(references, hypotheses)
    words = count_word_errors(references, hypotheses)
    if words.words:
        assert words.wer == jiwer.wer(references, hypotheses)


@given(pairs)
def test_law_9_a_phone_counts_code_points_and_the_fewest_edits(said: list[tuple[str, str]]) -> None:
    """What the Kotlin phone does, in Python: what it holds to is jiwer's count."""
    references, hypotheses = map(list, zip(*said, strict=True))
    edits = sum(_distance(r.strip(), h.strip()) for r, h in said)
    wanted = CharacterErrors(edits, sum(len(r.strip()) for r in references))
    assert count_character_errors(references, hypotheses) == wanted


def _distance(reference: str, hypothesis: str) -> int:
    row = list(range(len(hypothesis) + 1))
    for i, wanted in enumerate(reference):
        above, row = row, [i + 1]
        for j, heard in enumerate(hypothesis):
            row.append(min(above[j] + (wanted != heard), above[j + 1] + 1, row[j] + 1))
    return row[-1]


def test_nothing_said_has_no_errors() -> None:
    assert count_character_errors([], []) == CharacterErrors(0, 0)
    assert CharacterErrors(0, 0).cer == 0.0
    assert CharacterErrors(3, 12).cer == 0.25

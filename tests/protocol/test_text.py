"""The text rule: one way from a transcript to words, in every script, on every platform."""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedvoice.protocol import generate_text_tables
from fedvoice.protocol.characters import classes_of, composed, lower_case
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import text_tables
from fedvoice.protocol.text import TextRule, label_of, normalise, unknown_characters
from fedvoice.protocol.vocabulary import TargetKind, Vocabulary
from tests.protocol import every_text

TABLE = json.loads(every_text.TABLE.read_text(encoding="utf-8"))
EVERYTHING_KEPT = TextRule(digits="keep", tags="keep")
needs_pinned = pytest.mark.skipif(
    unicodedata.unidata_version != text_tables.UNICODE, reason="another version of Unicode"
)
texts = st.text() | st.text(alphabet=every_text.POOL)
rules = st.sampled_from([*every_text.RULES, EVERYTHING_KEPT, TextRule(language="az")])


@pytest.mark.parametrize("entry", TABLE["texts"], ids=lambda e: f"{e['language']}: {e['text']}")
def test_texts_of_many_languages_become_their_words(entry: dict[str, Any]) -> None:
    """Right values are written by hand; `null` is refused. Kotlin's `TextRuleTest` reads the same
    table."""
    rule = TextRule(**entry.get("rule", {}))
    if entry["words"] is None:
        with pytest.raises(FedvoiceError) as caught:
            normalise(entry["text"], rule)
        assert caught.value.code is ErrorCode.UNSUPPORTED_TEXT
    else:
        assert normalise(entry["text"], rule) == entry["words"]


def test_the_table_is_wide() -> None:
    assert len(TABLE["texts"]) >= 60
    assert len({entry["language"] for entry in TABLE["texts"]}) >= 30


@given(texts, rules)
def test_normalised_text_is_final(text: str, rule: TextRule) -> None:
    try:
        words = normalise(text, rule)
    except FedvoiceError:
        return
    if rule.tags == "refuse" or "[" not in words:  # a tag that is kept may gain a partner
        assert normalise(words, rule) == words
    assert words == words.strip()
    assert "  " not in words


@given(texts, rules)
def test_canonically_equivalent_texts_are_one(text: str, rule: TextRule) -> None:
    """Held for the characters that the tables know."""
    if unknown_characters(text):
        return
    both = [every_text.outcome(unicodedata.normalize(f, text), rule) for f in ("NFC", "NFD")]
    assert both[0] == both[1]
    assert both[0] == every_text.outcome(text, rule)


@given(texts)
def test_every_word_has_a_letter(text: str) -> None:
    """No mark, joiner or punctuation is left over as a word."""
    try:
        words = normalise(text, EVERYTHING_KEPT.model_copy(update={"tags": "drop"})).split(" ")
    except FedvoiceError:
        return
    for word in filter(None, words):
        assert classes_of(word[0]) in "ahnouqs", word


@needs_pinned
def test_lower_case_is_unicodes_own() -> None:
    """Of this version Python's is the reference, Final_Sigma included."""
    for point in range(sys.maxunicode + 1):
        c = chr(point)
        if classes_of(c) not in "ux":
            for text in (c, f"a{c}\u03a3", f"a\u03a3{c}a", f"a\u03a3{c} a"):
                assert lower_case(text) == text.lower(), hex(point)


@needs_pinned
def test_composition_is_unicodes_own() -> None:
    for point in range(sys.maxunicode + 1):
        c = chr(point)
        if classes_of(c) not in "ux":
            assert composed(unicodedata.normalize("NFD", c)) == unicodedata.normalize("NFC", c)


def test_newer_characters_pass_and_are_counted() -> None:
    newer = "\U00011f04"  # Kawi, of Unicode 15
    assert normalise(f"Ki {newer}a") == f"ki {newer}a"
    assert unknown_characters(f"Ki {newer}a{newer}") == 2


def test_python_gives_the_digests_that_kotlin_is_held_to() -> None:
    assert every_text.digest(every_text.every_character()) == TABLE["every_character"]
    assert every_text.digest(every_text.mixtures()) == TABLE["mixtures"]["sha256"]


def test_uax_29_keeps_the_words_that_the_rule_keeps_whole() -> None:
    """By the `regex` package's word boundaries, for words without hyphen."""
    regex = pytest.importorskip("regex")
    for word in ("ի՞նչ", "col·lecció", "eu:n", "צה״ל", "u.s.a", "don't", "3.14", "1,000", "می‌روم"):
        assert normalise(word, EVERYTHING_KEPT) == word
        assert regex.findall(r"(?w)\b.+?\b", word)[0] == word
    for text in ("word,word", "and/or", "a—b", "10:30"):
        cut = [part for part in regex.split(r"(?w)\b", text) if part and part[0].isalnum()]
        assert normalise(text, EVERYTHING_KEPT).split(" ") == cut


@needs_pinned
def test_the_tables_are_those_of_their_source() -> None:
    assert generate_text_tables.lower_case() == text_tables.LOWER_CASE


def test_a_rule_is_checked_and_travels() -> None:
    with pytest.raises(ValidationError):
        TextRule(language="turkish!")
    with pytest.raises(ValidationError):
        TextRule(digits="spell")
    rule = TextRule(language="tr", digits="keep")
    vocabulary = Vocabulary.from_words(["ılık"], rule)
    again = Vocabulary.model_validate_json(vocabulary.model_dump_json())
    assert again.text == rule
    assert again.encode("ILIK.") == [1]


def test_a_vocabulary_of_0_1_0_keeps_its_own_rule() -> None:
    old = Vocabulary.model_validate_json('{"kind": "word", "tokens": ["<blank>", "no", "no."]}')
    assert old.text is None
    assert old.encode(" NO.\u00a0no ") == [2, 1]


def test_labels_of_a_partition_are_words() -> None:
    assert label_of("No.") == label_of("no") == "no"
    assert label_of("Room  5") == "room 5"


def test_letters_that_word_pieces_lack_are_unknown() -> None:
    from fedvoice.model_export.vocabulary import build_vocabulary

    lines = [
        *("turn the light on", "turn the light off", "play some music", "stop the music now"),
        *("what time is it", "call my mother please", "it is ten in the morning", "call zoe"),
    ]
    vocabulary = build_vocabulary(TargetKind.PIECE, lines, pieces=40)
    assert vocabulary.decode(vocabulary.encode("Call Mother!")) == "call mother"
    with pytest.raises(FedvoiceError, match="character 'ë'") as caught:
        vocabulary.encode("call zoë")
    assert caught.value.code is ErrorCode.UNKNOWN_TOKEN
    assert vocabulary.reference_and_targets("Call Zoë!", testing=True) == ("call zoë", [])

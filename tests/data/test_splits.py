"""Splits: what is kept for testing is drawn, and no word is left to the tests alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvoice.data.speakers import development_split
from fedvoice.data.splits import LEAST_TO_SPLIT, drawn_split, spread_split
from fedvoice.protocol.utterances import Utterance

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def said_by(texts: Mapping[str, Sequence[str]]) -> list[Utterance]:
    """Files sorted by name, as a folder of speech gives them."""
    return [
        Utterance(Path(f"/{speaker}/{text}_{i}.wav"), text, 1.0, speaker)
        for speaker, own in texts.items()
        for i, text in enumerate(sorted(own))
    ]


def words(utterances: Iterable[Utterance], split: str) -> set[str]:
    return {word for u in utterances if u.split == split for word in u.text.split()}


def test_the_alphabetically_last_word_is_not_what_is_tested() -> None:
    corpus = said_by({f"speaker-{name}": DIGITS * 2 for name in "abc"})
    found = drawn_split(corpus, 0.1)
    assert Counter((u.speaker, u.split) for u in found) == Counter(
        {
            (f"speaker-{name}", split): n
            for name in "abc"
            for split, n in (("train", 18), ("test", 2))
        }
    )
    assert words(found, "train") == set(DIGITS)
    assert len(words(found, "test")) == 6  # six test utterances, six words of the ten
    assert [u.audio_path for u in found] == [u.audio_path for u in corpus]


@pytest.mark.parametrize(
    ("count", "fraction", "tests"),
    [
        (4, 0.1, 1),  # a tenth of four is nothing, and a model that nobody tests
        (3, 0.1, 1),
        (2, 0.1, 0),  # one of two would be half
        (2, 0.5, 1),
        (1, 0.5, 0),  # the only one trains
        (1, 1.0, 1),
        (20, 0.1, 2),
        (25, 0.1, 3),  # half is rounded up
        (50, 0.29, 15),  # 14.5, which binary numbers make 14.499...
        (10, 0.0, 0),
        (10, 1.0, 10),
        (10, 0.99, 9),
    ],
)
def test_how_many_of_a_speaker_are_for_testing(count: int, fraction: float, tests: int) -> None:
    found = drawn_split(said_by({"s": [f"sentence {i}" for i in range(count)]}), fraction)
    assert sum(u.split == "test" for u in found) == tests


def test_a_split_is_of_its_seed_and_the_same_on_every_machine() -> None:
    corpus = said_by({"s": [f"sentence {i:02d}" for i in range(20)]})

    def tested(seed: int) -> list[str]:
        return [u.text[-2:] for u in drawn_split(corpus, 0.2, seed) if u.split == "test"]

    assert tested(0) == tested(0)
    assert tested(0) == ["08", "11", "14", "18"]
    assert tested(1) == ["09", "13", "17", "18"]


@given(
    st.lists(st.lists(st.sampled_from(DIGITS), min_size=1, max_size=12), min_size=1, max_size=6),
    st.sampled_from([0.1, 0.2, 0.5, 0.9]),
    st.integers(0, 3),
)
def test_of_words_said_twice_none_is_left_to_the_tests_alone(
    speakers: list[list[str]], fraction: float, seed: int
) -> None:
    corpus = said_by({f"s{i}": own for i, own in enumerate(speakers)})
    found = drawn_split(corpus, fraction, seed)
    assert [u.audio_path for u in found] == [u.audio_path for u in corpus]
    twice = {word for word, n in Counter(u.text for u in corpus).items() if n > 1}
    assert not (words(found, "test") - words(found, "train")) & twice
    for i, own in enumerate(speakers):
        tests = sum(u.split == "test" for u in found if u.speaker == f"s{i}")
        assert tests <= max(round(fraction * len(own) + 0.01), len(own) >= LEAST_TO_SPLIT)


def test_tests_are_in_proportion_to_what_is_said() -> None:
    corpus = said_by({f"s{i}": ["yes"] * 30 + ["no"] * 10 for i in range(5)})
    tests = Counter(u.text for u in drawn_split(corpus, 0.1) if u.split == "test")
    assert tests == {"yes": 15, "no": 5}


def test_of_sentences_any_may_be_tested_but_no_word_of_several_is_lost() -> None:
    """A rule that kept rare words out of the tests would make them easier than the corpus is."""
    corpus = said_by({"s": [f"rare{i} common{i // 2}" for i in range(100)]})
    found = drawn_split(corpus, 0.3)
    lost = words(found, "test") - words(found, "train")
    assert len(lost) == 30
    assert all(word.startswith("rare") for word in lost)


def test_the_few_words_said_once_are_trained_on() -> None:
    """Of dates and commands: January is said by one person alone."""
    dates = [f"january {i}" for i in range(1, 3)] + ["march", "may", "june"]
    corpus = said_by({f"s{i}": [f"spell {c} {i % 7}" for c in "abcdefghi"] for i in range(10)})
    corpus += said_by({"t": dates})
    found = drawn_split(corpus, 0.5)
    assert not words(found, "test") - words(found, "train")
    assert sum(u.split == "test" for u in found) > 40


def test_prompts_in_the_same_order_are_not_the_same_tests_for_all() -> None:
    corpus = said_by({f"s{i:02d}": [f"prompt {j}" for j in range(10)] for i in range(10)})
    found = spread_split(corpus)
    assert Counter(u.text for u in found if u.split == "test") == {
        f"prompt {j}": 1 for j in range(10)
    }


def test_a_development_split_of_sorted_words_trains_on_all_of_them() -> None:
    """Each fifth of a sorted list was the same two words of every speaker."""
    found = development_split(said_by({f"s{i}": DIGITS for i in range(8)}), 0)
    assert words(found, "train") == set(DIGITS)
    assert len(words(found, "test")) == 10
    assert sum(u.split == "test" for u in found) == 16

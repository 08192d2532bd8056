"""What is said of a split before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fedvoice.data.dataset import ArrayClients, UtteranceClients
from fedvoice.data.memory import MappingDataset
from fedvoice.data.readiness import warnings_of, warnings_of_clients
from fedvoice.data.speakers import PhoneData
from fedvoice.protocol.utterances import Utterance
from fedvoice.protocol.vocabulary import Vocabulary

ENOUGH = ["yes", "no"] * 10
WORDS = Vocabulary.from_words(["yes", "no"])
LETTERS = Vocabulary.from_characters(["yes", "no"])


def said(texts: Sequence[str]) -> list[Utterance]:
    return [Utterance(Path(f"/{i}.wav"), text, 1.0, "s") for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("train", "test", "vocabulary", "told"),
    [
        (ENOUGH, ["yes", "no"], None, []),
        (ENOUGH, ["yes", "no"], WORDS, []),
        (ENOUGH, ["yes no", "noes"], LETTERS, []),
        ([], ["yes"], None, ["no utterance is for training"]),
        (ENOUGH, [], None, ["no utterance is for testing"]),
        (ENOUGH, ["yes", "yes"], None, ["the test utterances, 2, have one word, yes:"]),
        (ENOUGH, ["yes", "maybe"], None, ["1 word of the test utterances no training utterance"]),
        (ENOUGH, ["yes", "tons"], LETTERS, ["no training utterance has: t;"]),
        (["yes", "no"], ["no", "yes"], None, ["2 training utterances for 2 words, each in 1.0 of"]),
        ([*ENOUGH, "up"], ["no", "up"], None, ["1 word of 3 in fewer than 5 training utterances"]),
    ],
)  # fmt: skip
def test_what_would_be_found_out_after_the_last_round_is_said_before_the_first(
    train: list[str], test: list[str], vocabulary: Vocabulary | None, told: list[str]
) -> None:
    found = warnings_of(said(train), said(test), vocabulary)
    assert len(found) == len(told), found
    assert all(words in warning for words, warning in zip(told, found, strict=True)), found


def test_a_list_of_words_does_not_fill_the_screen() -> None:
    (told,) = warnings_of(said(ENOUGH), said([f"w{i:02d}" for i in range(30)]))
    assert "30 words of the test utterances" in told
    assert "w09 and 20 more" in told


def test_how_many_are_enough_is_a_setting() -> None:
    assert warnings_of(said(ENOUGH), said(["yes", "no"]), least_per_target=11)
    assert not warnings_of(said(["yes", "no"]), said(["yes", "no"]), least_per_target=0)


def test_a_partitioned_corpus_is_looked_at_as_it_is_dealt() -> None:
    phones = [PhoneData("a", said(ENOUGH)), PhoneData("b", test=said(["yes"]), held_out=True)]
    (told,) = warnings_of_clients(UtteranceClients(phones), WORDS)
    assert "have one word, yes" in told


def test_arrays_with_token_ids_have_targets_too() -> None:
    array = np.zeros((4, 3), dtype=np.float32)
    data = MappingDataset({"a": [(array, [1, 2])] * 5}, test={"a": [(array, [2, 3])]})
    (told,) = warnings_of_clients(data.clients())
    assert "1 word of the test utterances no training utterance has: 3;" in told


def test_images_without_test_images_are_said() -> None:
    from fedvoice.data.mnist import Images

    images = Images(np.zeros((2, 28, 28), dtype=np.uint8), np.zeros(2, dtype=np.int64))
    clients = ArrayClients(images, ["a"], lambda _: np.arange(2), {})
    (told,) = warnings_of_clients(clients)
    assert told.startswith("no utterance is for testing")
    assert not warnings_of_clients(
        ArrayClients(images, ["a"], lambda _: np.arange(2), {"wer": images})
    )

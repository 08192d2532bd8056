"""Training and test utterances: which of a speaker's recordings are kept for testing.

Utterances are drawn by portable streams (`protocol.random`), one a speaker, so that a seed gives
the same split on every machine. No split depends on how the files are called.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TypeVar

from fedvoice.protocol.random import Purpose, Stream
from fedvoice.protocol.text import label_of
from fedvoice.protocol.utterances import Utterance

U = TypeVar("U", bound=Utterance)

LEAST_TO_SPLIT = 3
"""Utterances of a speaker from which at least one is kept for testing, however small the share: of
two, one would be half."""
OPEN_SHARE = 0.1
TEST_EVERY = 10
"""`spread_split` keeps each tenth."""


def drawn_split(utterances: Iterable[U], test_fraction: float, seed: int = 0) -> list[U]:
    """Mark `test_fraction` of each speaker's utterances as test, drawn at random.

    Of a speaker with at least `LEAST_TO_SPLIT` utterances one is for testing at least, and of any
    speaker one is for training, for a fraction between 0 and 1. An utterance is not drawn if it is
    the last one left to train on with one of its words, even if fewer are then for testing. Only
    where more than `OPEN_SHARE` of the utterances have a word that no other one has, as in read
    sentences, such words may be left to the tests alone: without those utterances the tests would
    be easier than the corpus.

    Where transcripts repeat (each is said twice or more on average, as in a corpus of words) the
    test utterances are spread over the transcripts in proportion to their counts (Webster's
    method).

    Args:
        test_fraction: 0..1. seed: of all draws.

    Returns:
        The utterances by speaker, sorted, each speaker's in the given order.
    """
    by_speaker = _by_speaker(utterances)
    everything = [u for own in by_speaker.values() for u in own]
    labels = {text: label_of(text) for text in {u.text for u in everything}}
    said = Counter(labels[u.text] for u in everything)
    repeats = 2 * len(said) <= len(everything)
    spoken = [labels[u.text] for u in everything]
    left = Counter(word for text in spoken for word in set(text.split()))
    alone = set() if repeats else _words_of_their_own(spoken, left)
    tested: Counter[str] = Counter()
    marked: list[U] = []
    for speaker in sorted(by_speaker):
        own = by_speaker[speaker]
        texts = [labels[u.text] for u in own]
        wanted = _test_count(len(own), test_fraction)
        order = Stream(seed, speaker, 0, Purpose.SPLIT).permutation(len(own))
        if repeats:
            order = _spread(order, texts, tested, said)
        chosen: set[int] = set()
        for place in order:
            if len(chosen) == wanted:
                break
            words = set(texts[place].split()) - alone
            if test_fraction < 1 and any(left[word] == 1 for word in words):
                continue
            left.subtract(words)
            tested[texts[place]] += 1
            chosen.add(place)
        marked += [
            replace(u, split="test" if place in chosen else "train") for place, u in enumerate(own)
        ]
    return marked


def spread_split(utterances: Iterable[U]) -> list[U]:
    """Mark each tenth of a speaker's utterances as test, from another place on for each speaker:
    where all say the same prompts in the same order, as in AN4, no prompt is left to the tests
    alone. Nothing is random."""
    by_speaker = _by_speaker(utterances)
    return [
        replace(u, split="test" if (place + number) % TEST_EVERY == TEST_EVERY - 1 else "train")
        for number, speaker in enumerate(sorted(by_speaker))
        for place, u in enumerate(by_speaker[speaker])
    ]


def _by_speaker(utterances: Iterable[U]) -> dict[str, list[U]]:
    by_speaker: dict[str, list[U]] = defaultdict(list)
    for utterance in utterances:
        by_speaker[utterance.speaker].append(utterance)
    return by_speaker


def _words_of_their_own(texts: Sequence[str], said: Counter[str]) -> set[str]:
    """Words that one utterance alone has, if they are in many utterances; else none."""
    alone = [own for text in texts if (own := {w for w in text.split() if said[w] == 1})]
    return set().union(*alone) if len(alone) > OPEN_SHARE * len(texts) else set()


def _test_count(count: int, fraction: float) -> int:
    """How many of `count` utterances are for testing, half rounded up."""
    if not 0 < fraction < 1:
        return count if fraction >= 1 else 0
    # As the fraction is written: 0.29 of 50 is 14.5, not 14.499...
    wanted = int(Fraction(str(fraction)) * count + Fraction(1, 2))
    return min(max(wanted, int(count >= LEAST_TO_SPLIT)), max(count - 1, 0))


def _spread(
    order: Sequence[int], texts: Sequence[str], tested: Counter[str], said: Counter[str]
) -> list[int]:
    """The places in the order in which Webster's method gives transcripts their test utterances,
    those tested by earlier speakers counted; equals stay in the order drawn."""
    so_far: Counter[str] = Counter()
    keys = {}
    for place in order:
        text = texts[place]
        keys[place] = (2 * (tested[text] + so_far[text]) + 1) / said[text]
        so_far[text] += 1
    return sorted(order, key=keys.__getitem__)

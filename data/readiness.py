"""Whether a split corpus can be learned and judged, said before training rather than after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

from fedvoice.data.dataset import Clients
from fedvoice.data.references import ArrayReference, Reference, References
from fedvoice.protocol.engine import Examples
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.text import label_of
from fedvoice.protocol.vocabulary import WORD_BOUNDARY, TargetKind, Vocabulary

LEAST_PER_TARGET = 5
"""Training utterances of a word (character, word piece) below which it is said that a model will
hardly learn it. A rule of thumb, and a low one: the words of the demo have over a hundred, the
digits of experiments/digits.toml twenty."""
_NO_TESTS = (
    'no utterance is for testing (split "test"): no error rate will be measured, and nothing shows '
    "whether the model learns; make a split, e.g. with --test-fraction 0.1"
)
_NAMED_AT_MOST = 10
_NAMES = {
    TargetKind.WORD: "word",
    TargetKind.CHARACTER: "character",
    TargetKind.PIECE: "word piece",
}


def warnings_of(
    train: Iterable[Reference],
    test: Iterable[Reference],
    vocabulary: Vocabulary | None = None,
    *,
    least_per_target: int = LEAST_PER_TARGET,
) -> list[str]:
    """What is wrong with a split, one sentence each; empty if nothing is.

    Said are: nothing to train on; nothing to test with; a single word in all tests; targets that
    only the tests have; too few training utterances of a target, on average or of some.

    Args:
        train, test: utterances, or arrays with their targets.
        vocabulary: the task's targets; None: the words of the texts.
        least_per_target: training utterances of a target that are enough; 0: any number.
    """
    name = _NAMES[TargetKind.WORD if vocabulary is None else vocabulary.kind]
    counts, trained = _counts(train, vocabulary)
    tests, tested = _counts(test, vocabulary)
    if not trained:
        return ["no utterance is for training: nothing can be learned"]
    found = []
    if not tested:
        found.append(_NO_TESTS)
    elif name == "word" and len(tests) == 1:
        found.append(
            f"the test utterances, {tested}, have one word, {next(iter(tests))}: the error rate "
            "will be that word's alone; draw the test utterances from all words"
        )
    unheard = sorted(tests.keys() - counts.keys())
    if unheard:
        found.append(
            f"{_number(len(unheard), name)} of the test utterances no training utterance has: "
            f"{_list(unheard)}; they cannot be recognised"
        )
    targets = set(counts) if vocabulary is None else _targets(vocabulary)
    mean = sum(counts[t] for t in targets) / len(targets) if targets else 0.0
    if mean < least_per_target:
        found.append(
            f"{_number(trained, 'training utterance')} for {_number(len(targets), name)}, each in "
            f"{mean:.1f} of them on average: fewer than {least_per_target} hardly suffice to learn "
            "anything"
        )
    else:
        rare = sorted(t for t in targets - set(unheard) if counts[t] < least_per_target)
        if rare:
            found.append(
                f"{_number(len(rare), name)} of {len(targets)} in fewer than {least_per_target} "
                f"training utterances: {_list(rare)}; they will hardly be learned"
            )
    return found


def warnings_of_clients(
    clients: Clients,
    vocabulary: Vocabulary | None = None,
    *,
    least_per_target: int = LEAST_PER_TARGET,
) -> list[str]:
    """`warnings_of` a partitioned corpus. Of arrays in memory (`Examples`: images, characters) only
    whether there are tests is said."""
    train = (clients.train(client_id) for client_id in clients.client_ids)
    first = next(train, ())
    if isinstance(first, Examples) or any(isinstance(t, Examples) for t in clients.tests.values()):
        return [] if any(map(len, clients.tests.values())) else [_NO_TESTS]
    return warnings_of(
        _each(chain([first], train)),
        _each(clients.tests.values()),
        vocabulary,
        least_per_target=least_per_target,
    )


def _each(parts: Iterable[References]) -> Iterable[Reference]:
    return (one for part in parts if not isinstance(part, Examples) for one in part)


def _counts(
    references: Iterable[Reference], vocabulary: Vocabulary | None
) -> tuple[Counter[str], int]:
    """The number of utterances that have each target, and of all utterances."""
    counts: Counter[str] = Counter()
    number = 0
    for reference in references:
        number += 1
        counts.update(set(_units(reference, vocabulary)))
    return counts, number


def _units(reference: Reference, vocabulary: Vocabulary | None) -> Sequence[str]:
    ids = reference.targets if isinstance(reference, ArrayReference) else None
    if ids is not None:
        known = vocabulary.tokens if vocabulary is not None else ()
        return [known[i] if i < len(known) else str(i) for i in ids]
    if vocabulary is None:
        return label_of(reference.text).split()
    try:
        if vocabulary.kind is TargetKind.WORD:
            return vocabulary.normalise(reference.text).split()
        if vocabulary.kind is TargetKind.CHARACTER:
            return "".join(vocabulary.normalise(reference.text).split())
        return [vocabulary.tokens[i] for i in vocabulary.encode(reference.text)]
    except FedvoiceError:
        return []  # left out of training, and counted there


def _targets(vocabulary: Vocabulary) -> set[str]:
    return set(vocabulary.tokens[1:]) - {WORD_BOUNDARY}


def _number(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def _list(targets: Sequence[str]) -> str:
    named = ", ".join(targets[:_NAMED_AT_MOST])
    more = len(targets) - _NAMED_AT_MOST
    return f"{named} and {more} more" if more > 0 else named

"""Whom a round invites: an order of the clients, drawn from the seed."""

from __future__ import annotations

from collections.abc import Iterable

from fedvoice.protocol.random import Purpose, Stream

SHUFFLED_WHOLE = 10_000
"""Clients of which the whole order is drawn; of more only its beginning."""


def draw_cohort(
    seed: int, number: int, client_ids: Iterable[str], places: int = 0
) -> tuple[str, ...]:
    """Clients in the order in which round `number` invites them: reproducible from the seed.

    Args:
        places: of the round. Of more than `SHUFFLED_WHOLE` clients ten times as many are drawn, at
            least 1000; all of them without `places`.
    """
    known = sorted(client_ids)
    stream = Stream(seed, "", number, Purpose.COHORT)
    if not places or len(known) <= SHUFFLED_WHOLE:
        return tuple(known[i] for i in stream.permutation(len(known)))
    most = min(len(known), max(10 * places, 1000))
    # Fisher-Yates from the beginning; `moved` stands for the list whose rest nobody looks at.
    moved: dict[int, int] = {}
    drawn = []
    for i, word in enumerate(stream.words(most)):
        j = i + ((int(word) * (len(known) - i)) >> 32)
        drawn.append(known[moved.get(j, j)])
        moved[j] = moved.get(i, i)
    return tuple(drawn)

"""How much one client may change the model: a cap on its weight, a bound on its update's norm.

Both follow from what is known when a round starts, and are part of its journaled state: whatever
comes in the round changes neither, so the order of reports does not matter (law 1) and a restarted
server has the same ones (law 4).

    weight of a client = min(n_k, what it had declared when it was given work, the round's cap)

Neither the cap nor the bound acts in rounds of fewer than `FEWEST` clients: a share of a quarter
means nothing among four, and the median of a few norms is whatever half of them want.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

FEWEST = 5
"""Clients of a round below which nothing is capped, and whose norms say nothing of later rounds."""
WINDOW = 3
"""Committed rounds whose norms are looked at. Norms fall as a model learns: old ones say little."""
_MOST_DOUBLINGS = 64


@dataclass(frozen=True)
class Influence:
    """The limits of one client in one round; 0: none. `weight_cap` counts examples."""

    weight_cap: int = 0
    norm_bound: float = 0.0

    def weight(self, examples: int, declared: int = 0) -> int:
        """What an update counts with.

        Args:
            examples: n_k, as reported.
            declared: as the client said before it was given the work; 0: not known.
        """
        return min([examples, *(limit for limit in (declared, self.weight_cap) if limit)])


UNLIMITED = Influence()


@dataclass(frozen=True)
class NormHistory:
    """The norms that the next round's bound follows from; a new one after each training round.

    norms: of the accepted updates, for the last `WINDOW` committed rounds of `FEWEST` or more, the
    latest last. abandoned: rounds abandoned since the last committed one.
    """

    norms: tuple[tuple[float, ...], ...] = ()
    abandoned: int = 0

    def after(self, norms: Sequence[float] | None) -> NormHistory:
        """With one more round: its accepted norms in any order; None if it was abandoned."""
        if norms is None:
            return replace(self, abandoned=self.abandoned + 1)
        if len(norms) < FEWEST:
            return replace(self, abandoned=0)
        return NormHistory((*self.norms, tuple(sorted(norms)))[-WINDOW:])


NO_NORMS = NormHistory()


def weight_cap(declared: Sequence[int], share: float, count: int | None = None) -> int:
    """The largest weight c with c <= share * sum(min(n_i, c)): capped at it, no client has more
    than its share of the round. A client that declares more than c raises it no further.

    Args:
        declared: examples n_i of the round's clients, or of those that may come; each 1 or more.
        share: of the round, above 0. Less than an equal share cannot be had: it is raised to one.
            1: no cap.
        count: the round's clients, where `declared` is of more or fewer; None: as many.

    Returns:
        c, at least 1; 0: no cap, with fewer than `FEWEST` clients.
    """
    clients = len(declared) if count is None else count
    if share >= 1 or not declared or clients < FEWEST:
        return 0
    part = max(Fraction(share), Fraction(1, clients)) * Fraction(clients, len(declared))
    times, over = part.numerator, part.denominator  # whole numbers: every driver finds the same c
    ordered = sorted(declared)
    below = 0
    for i, examples in enumerate(ordered):
        above = len(ordered) - i
        if examples * over > times * (below + examples * above):
            # The cap lies below these n_i and not below the others: c = part * (below + above * c).
            return times * below // (over - times * above)
        below += examples
    return times * below // over


def norm_bound(norms_by_round: Sequence[Sequence[float]], factor: float, relaxed: int = 0) -> float:
    """The largest norm of an update: `factor` times the median of the norms of earlier rounds.

    It doubles with each abandoned round since: a job whose honest norms grow is not stuck for ever.
    Norms are good to six digits, and so is the bound between drivers that read updates in other
    pieces; what one server has journaled does not change.

    Args:
        norms_by_round: accepted norms, as `NormHistory` keeps them.
        factor: 0: no bound.
        relaxed: rounds abandoned since the last committed one.

    Returns:
        0 as long as there is none.
    """
    norms = [norm for own in norms_by_round for norm in own]
    if not norms or not factor:
        return 0.0
    return factor * statistics.median(norms) * 2.0 ** min(relaxed, _MOST_DOUBLINGS)

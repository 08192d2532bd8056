"""Update links: steps between a checked update and the exact sum (an extension point).

    update -> link -> link -> ... -> fold into the sum        (streaming; memory O(model))
    update -> link -> ... -> spool -> cohort rule on tiles    (rules that need single updates)

An `UpdateLink` sees one update and returns its weight and scale. A `CohortRule` can only be the
last link: it replaces the weighted mean and reads all updates of the round, tile by tile. Each
states its `Contract`; the chain shows a link the fields that its contract names, nothing else, and
enforces the bounds under which sums are exact. Links keep no state: a result depends on its update
alone, so a restarted server gets the same one (law 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.plan import TrainingPlan

MOST_SPOOLED_UPDATES = 512
"""Most clients of a cohort rule: it opens one file, and holds one tile, for each."""

Pieces = Callable[[], Iterable[Float32Array]]
"""Reads an update from its beginning, as consecutive pieces of `CHUNK_ELEMENTS`, the last one
shorter; the same values each time."""


class Sees(StrEnum):
    """What a link may look at, beside the update's weight."""

    EXAMPLES = "examples"
    STEPS = "steps"
    LOSS = "loss"
    NORM = "norm"
    """L2, of the update as the links before leave it."""
    MAX_ABS = "max_abs"
    ROUND = "round"
    CLIENT = "client"
    PLAN = "plan"


class Memory(StrEnum):
    """Memory that a link needs besides one piece of one update."""

    CONSTANT = "constant"
    TILE = "one piece of every update of the round"


@dataclass(frozen=True)
class Contract:
    """The declared properties of a link.

    sees: what it may look at. exact: the round's result depends only on the set of updates, not on
    order, threads, tree or restarts (law 1). needs_updates: it is a `CohortRule`. transforms: it
    also changes the update's elements, by `ElementwiseLink.transform`.
    """

    sees: frozenset[Sees] = frozenset()
    exact: bool = True
    memory: Memory = Memory.CONSTANT
    needs_updates: bool = False
    transforms: bool = False


@dataclass(frozen=True)
class UpdateInfo:
    """All that is known of an update before its values are read.

    examples, steps, loss: as the client reported them, and checked.
    """

    client: str
    round: int
    examples: int
    steps: int
    loss: float
    plan: TrainingPlan


@dataclass(frozen=True)
class Seen:
    """One update as one link sees it: the fields that its contract names; others raise."""

    name: str
    contract: Contract
    weight: int
    """As the links before leave it; at first n_k."""
    shown: Mapping[Sees, Any] = field(repr=False)

    def __getattr__(self, wanted: str) -> Any:
        if wanted.startswith("_") or wanted not in set(Sees):
            raise AttributeError(wanted)
        sees = Sees(wanted)
        if sees not in self.contract.sees:
            raise bad_link(self.name, f"a look at {wanted!r}", "what its contract's `sees` names")
        return self.shown[sees]


@dataclass(frozen=True)
class Verdict:
    """weight: 1 to the bound on n_k. scale: what every value is multiplied by, 0 to 1."""

    weight: int
    scale: float = 1.0


class UpdateLink(Protocol):
    """A streaming link. `contract.needs_updates` is False."""

    @property
    def contract(self) -> Contract:
        """The link's declared properties."""

    def __call__(self, seen: Seen) -> Verdict:
        """Weight and scale of one update; a pure function."""


class ElementwiseLink(UpdateLink, Protocol):
    """A streaming link that also changes elements. `contract.transforms` is True."""

    def transform(self, piece: Float32Array, start: int, seen: Seen) -> Float32Array:
        """A piece of one update, float32 [n], changed; a pure function, the same each time.

        Args:
            piece: values start..start + n of the update, as the links before leave them, scaled;
                not to be written to.
        """


class CohortRule(Protocol):
    """The last link of a chain that needs single updates. `contract.needs_updates` is True."""

    @property
    def contract(self) -> Contract:
        """The rule's declared properties."""

    def combine(self, tile: Float32Array, weights: npt.NDArray[np.int64]) -> Float32Array:
        """The round's delta in one tile, float32 [n], of all updates' values there.

        Args:
            tile: float32 [K, n], K clients by client id.
            weights: int64 [K].
        """


@dataclass(frozen=True)
class Spooled:
    """An accepted update that waits for a cohort rule."""

    told: UpdateInfo
    pieces: Pieces


def bad_link(name: str, got: str, wanted: str) -> FedvoiceError:
    """`bad-plugin` for a link that breaks its contract."""
    return FedvoiceError(
        ErrorCode.BAD_PLUGIN,
        where=f"update link {name}",
        got=got,
        wanted=wanted,
        next_step="Correct the link; `algorithm/links.py` states what links may do.",
    )

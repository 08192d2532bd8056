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

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fedvoice.algorithm.aggregation import CHUNK_ELEMENTS, Accumulator, UpdateFacts, inspect
from fedvoice.algorithm.doors import UPDATE_LINKS
from fedvoice.algorithm.settings import LinkConfig
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector, Float32Array
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
    order, threads, tree or restarts (law 1). needs_updates: it is a `CohortRule`.
    """

    sees: frozenset[Sees] = frozenset()
    exact: bool = True
    memory: Memory = Memory.CONSTANT
    needs_updates: bool = False


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
            raise _bad(self.name, f"a look at {wanted!r}", "what its contract's `sees` names")
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


@dataclass(frozen=True)
class Chain:
    """The links of a job in order; without any, updates weigh n_k and are folded as they are."""

    links: tuple[tuple[str, UpdateLink], ...] = ()
    rule: tuple[str, CohortRule] | None = None
    max_weight: int = 65536

    @property
    def exact(self) -> bool:
        """Whether every link is exact."""
        contracts = [link.contract for _, link in self.links]
        if self.rule is not None:
            contracts.append(self.rule[1].contract)
        return all(contract.exact for contract in contracts)

    @property
    def needs_updates(self) -> bool:
        """Whether updates must be spooled to the round's end; nothing is folded then."""
        return self.rule is not None

    def fold(self, total: Accumulator, pieces: Pieces, told: UpdateInfo) -> None:
        """Add a checked update to the round's sum; with a cohort rule do nothing.

        Raises:
            FedvoiceError: `bad-plugin` if a link fails or breaks its bounds.
        """
        if self.rule is not None:
            return
        verdict = self.judge(pieces, told)
        total.fold(_scaled(pieces(), verdict.scale), verdict.weight)

    def judge(self, pieces: Pieces, told: UpdateInfo) -> Verdict:
        """Weight and scale of an update after all streaming links.

        Raises:
            FedvoiceError: as `fold`.
        """
        whole = Verdict(told.examples)
        if not self.links:
            return whole
        facts = UpdateFacts(0.0, 0.0)
        if any(link.contract.sees & {Sees.NORM, Sees.MAX_ABS} for _, link in self.links):
            facts = inspect(pieces())
        for name, link in self.links:
            with UPDATE_LINKS.naming(name):
                own = link(_seen(name, link.contract, told, facts, whole))
                self._check(name, own)
            whole = replace(own, scale=whole.scale * own.scale)
        return whole

    def combine(self, spooled: Sequence[Spooled], size: int) -> FlatVector:
        """The cohort rule's delta, float32 [P], of the round's accepted updates.

        Raises:
            FedvoiceError: `bad-plugin` if the rule fails or its result is not a finite vector.
        """
        assert self.rule is not None, "only a cohort rule combines"
        name, rule = self.rule
        delta = np.zeros(size, dtype=np.float32)
        if not spooled:
            return delta
        ordered = sorted(spooled, key=lambda update: update.told.client)
        verdicts = [self.judge(update.pieces, update.told) for update in ordered]
        weights = np.array([verdict.weight for verdict in verdicts], dtype=np.int64)
        readers = [
            iter(_scaled(update.pieces(), verdict.scale))
            for update, verdict in zip(ordered, verdicts, strict=True)
        ]
        for start in range(0, size, CHUNK_ELEMENTS):
            tile = np.stack([next(reader) for reader in readers])
            with UPDATE_LINKS.naming(name):
                found = rule.combine(tile, weights)
                wrong = found.dtype != np.float32 or found.shape != tile.shape[1:]
                if wrong or not np.isfinite(found).all():
                    got = f"{found.dtype} {found.shape}, or values that are not finite"
                    raise _bad(name, got, f"finite float32 {tile.shape[1:]}")
            delta[start : start + found.size] = found
        return delta

    def _check(self, name: str, verdict: Verdict) -> None:
        weight, scale = verdict.weight, verdict.scale
        if isinstance(weight, bool) or not isinstance(weight, int | np.integer):
            raise _bad(name, f"a weight of {weight!r}", "a whole number")
        if not 1 <= weight <= self.max_weight:
            raise _bad(name, f"a weight of {weight}", f"1 to {self.max_weight}")
        if not (math.isfinite(scale) and 0 <= scale <= 1):
            raise _bad(name, f"a scale of {scale}", "0 to 1")


def make_chain(configs: Sequence[LinkConfig], *, max_weight: int) -> Chain:
    """The chain that the settings name.

    Raises:
        FedvoiceError: `bad-plugin` if a link cannot be loaded or made; `bad-config` for options
            that a built-in link does not take, and for a cohort rule that is not the last link.
    """
    links: list[tuple[str, UpdateLink]] = []
    rule: tuple[str, CohortRule] | None = None
    for config in configs:
        if rule is not None:
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where="links",
                got=f"{config.name} after {rule[0]}, which needs single updates",
                wanted="such a link only as the last one",
                next_step="Put it last; a chain has at most one.",
            )
        made = UPDATE_LINKS.make(config.name, config.options)
        if made.contract.needs_updates:
            rule = config.name, made
        else:
            links.append((config.name, made))
    return Chain(tuple(links), rule, max_weight)


def check_spooled(chain: Chain, clients: int) -> None:
    """Refuse a cohort that is too large for the chain's cohort rule.

    Raises:
        FedvoiceError: `bad-config`.
    """
    if chain.rule is not None and clients > MOST_SPOOLED_UPDATES:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=f"links, {chain.rule[0]}",
            got=f"a cohort of {clients}",
            wanted=f"at most {MOST_SPOOLED_UPDATES} clients a round: it reads all updates at once",
            next_step="Lower cohort_size, or take links that need no single updates.",
        )


def travelling(configs: Iterable[LinkConfig]) -> tuple[LinkConfig, ...]:
    """The same links, by names that other processes can import.

    Raises:
        FedvoiceError: `bad-plugin` for one that can be imported nowhere else.
    """
    return tuple(
        config.model_copy(update={"name": UPDATE_LINKS.travelling(config.name)})
        for config in configs
    )


def pieces_of(vector: FlatVector) -> Iterator[Float32Array]:
    """A vector [P] in the pieces in which payloads are read: norms are sums by piece, so that all
    drivers compute the same bits."""
    for start in range(0, vector.size, CHUNK_ELEMENTS):
        yield vector[start : start + CHUNK_ELEMENTS]


def _seen(
    name: str, contract: Contract, told: UpdateInfo, facts: UpdateFacts, so_far: Verdict
) -> Seen:
    shown = {
        Sees.EXAMPLES: told.examples,
        Sees.STEPS: told.steps,
        Sees.LOSS: told.loss,
        Sees.NORM: facts.norm * so_far.scale,
        Sees.MAX_ABS: facts.max_abs * so_far.scale,
        Sees.ROUND: told.round,
        Sees.CLIENT: told.client,
        Sees.PLAN: told.plan,
    }
    return Seen(name, contract, so_far.weight, shown)


def _scaled(pieces: Iterable[Float32Array], scale: float) -> Iterable[Float32Array]:
    if scale == 1.0:
        return pieces
    factor = np.float32(scale)
    return (piece * factor for piece in pieces)


def _bad(name: str, got: str, wanted: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_PLUGIN,
        where=f"update link {name}",
        got=got,
        wanted=wanted,
        next_step="Correct the link; `algorithm/links.py` states what links may do.",
    )

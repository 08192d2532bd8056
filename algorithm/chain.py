"""A job's links as one chain: makes it from the settings, judges updates, folds them.

update -> link -> link -> ... -> fold into the sum        (streaming; memory O(model))
update -> link -> ... -> spool -> cohort rule on tiles    (rules that need single updates)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np

from fedvoice.algorithm.aggregation import CHUNK_ELEMENTS, Accumulator, UpdateFacts, inspect
from fedvoice.algorithm.doors import UPDATE_LINKS
from fedvoice.algorithm.links import (
    CohortRule,
    Contract,
    ElementwiseLink,
    Pieces,
    Seen,
    Sees,
    Spooled,
    UpdateInfo,
    UpdateLink,
    Verdict,
    bad_link,
)
from fedvoice.algorithm.settings import LinkConfig
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector, Float32Array

MOST_SPOOLED_UPDATES = 512
"""A cohort rule reads its updates side by side: one open file, and one tile, a client."""


@dataclass(frozen=True)
class Judged:
    """An update after all streaming links: what it weighs, and its values."""

    weight: int
    pieces: Pieces


@dataclass(frozen=True)
class Chain:
    """The links of a job in order; without any, updates weigh n_k and are folded as they are."""

    links: tuple[tuple[str, UpdateLink], ...] = ()
    rule: tuple[str, CohortRule] | None = None
    max_weight: int = 65536
    max_abs: float = 16.0

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
        judged = self.judge(pieces, told)
        total.fold(judged.pieces(), judged.weight)

    def judge(self, pieces: Pieces, told: UpdateInfo) -> Judged:
        """An update after all streaming links; elements are changed as they are read.

        Raises:
            FedvoiceError: as `fold`; reading the pieces raises it of a transform.
        """
        so_far = Verdict(told.examples)
        facts: UpdateFacts | None = None
        for name, link in self.links:
            if facts is None and link.contract.sees & {Sees.NORM, Sees.MAX_ABS}:
                facts = inspect(pieces())
            seen = _seen(name, link.contract, told, facts or _NOT_LOOKED_AT, so_far)
            with UPDATE_LINKS.naming(name):
                own = link(seen)
                self._check(name, own)
            so_far = Verdict(own.weight, so_far.scale * own.scale)
            if link.contract.transforms:
                changing = cast(ElementwiseLink, link)
                pieces = partial(self._transformed, pieces, so_far.scale, name, changing, seen)
                so_far, facts = Verdict(own.weight), None
        return Judged(so_far.weight, partial(_scaled, pieces, so_far.scale))

    def check(self, pieces: Pieces, told: UpdateInfo) -> None:
        """See that no link fails on an update.

        Raises:
            FedvoiceError: as `fold`.
        """
        judged = self.judge(pieces, told)
        if any(link.contract.transforms for _, link in self.links):
            for _ in judged.pieces():
                pass

    def _transformed(
        self, pieces: Pieces, scale: float, name: str, link: ElementwiseLink, seen: Seen
    ) -> Iterator[Float32Array]:
        start = 0
        for piece in _scaled(pieces, scale):
            before = piece.view()
            before.flags.writeable = False
            with UPDATE_LINKS.naming(name):
                after = link.transform(before, start, seen)
            if after.dtype != np.float32 or after.shape != piece.shape:
                raise bad_link(name, f"{after.dtype} {after.shape}", f"float32 {piece.shape}")
            if not float(np.abs(after).max(initial=0.0)) <= self.max_abs:  # NaN is refused, too
                got = "elements that are not finite, or too large"
                raise bad_link(name, got, f"at most max_update_abs = {self.max_abs:g}")
            start += piece.size
            yield after

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
        judged = [self.judge(update.pieces, update.told) for update in ordered]
        weights = np.array([own.weight for own in judged], dtype=np.int64)
        readers = [iter(own.pieces()) for own in judged]
        for start in range(0, size, CHUNK_ELEMENTS):
            tile = np.stack([next(reader) for reader in readers])
            with UPDATE_LINKS.naming(name):
                found = rule.combine(tile, weights)
                wrong = found.dtype != np.float32 or found.shape != tile.shape[1:]
                if wrong or not np.isfinite(found).all():
                    got = f"{found.dtype} {found.shape}, or values that are not finite"
                    raise bad_link(name, got, f"finite float32 {tile.shape[1:]}")
            delta[start : start + found.size] = found
        return delta

    def _check(self, name: str, verdict: Verdict) -> None:
        weight, scale = verdict.weight, verdict.scale
        if isinstance(weight, bool) or not isinstance(weight, int | np.integer):
            raise bad_link(name, f"a weight of {weight!r}", "a whole number")
        if not 1 <= weight <= self.max_weight:
            raise bad_link(name, f"a weight of {weight}", f"1 to {self.max_weight}")
        if not (math.isfinite(scale) and 0 <= scale <= 1):
            raise bad_link(name, f"a scale of {scale}", "0 to 1")


def make_chain(configs: Sequence[LinkConfig], *, max_weight: int, max_abs: float = 16.0) -> Chain:
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
    return Chain(tuple(links), rule, max_weight, max_abs)


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


def _scaled(pieces: Pieces, scale: float) -> Iterable[Float32Array]:
    if scale == 1.0:
        return pieces()
    factor = np.float32(scale)
    return (piece * factor for piece in pieces())


_NOT_LOOKED_AT = UpdateFacts(0.0, 0.0)

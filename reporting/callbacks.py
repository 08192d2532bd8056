"""What is told of a run while it goes on, and who listens: one hook interface for all runs.

A callback is told of the run's beginning, of the long parts before its first round, of each round
before and after it, and of the end. Pruning, progress, logging and trackers are callbacks. They
run in the process that drives the rounds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fedvoice.protocol.registry import Registry
from fedvoice.reporting.results import Results, RoundResult

log = logging.getLogger("fedvoice.run")


@dataclass(frozen=True)
class RunInfo:
    """What is known of a run before its first round. rounds: as many as it would take to its end;
    done: rounds that an earlier part of it has done."""

    name: str
    rounds: int
    done: int = 0


@dataclass(frozen=True)
class RoundEnd:
    """A round and the evaluation that followed it.

    rates: error rates in percent by test set (`wer`, `heldout_wer`) and of all together (`pooled`);
    empty where the round was not evaluated. weights: float32 [P] after it, not to be written to;
    None where only a server has them.
    """

    result: RoundResult
    rounds: int
    rates: Mapping[str, float] = field(default_factory=dict)
    weights: npt.NDArray[np.float32] | None = None


class Callback:
    """Hears of one run; a subclass overrides what it wants to hear. What a method raises ends the
    run: a checkpoint keeps what was reached."""

    def began(self, run: RunInfo) -> None:
        """The run has begun, or is resumed."""

    def noted(self, what: str) -> None:
        """A long part before the first round, in a few words."""

    def round_begins(self, number: int) -> None:
        """Round `number`, from 1, is the next."""

    def round_ended(self, end: RoundEnd) -> bool:
        """A round has ended; True ends the run here, as a result."""
        return False

    def ended(self, results: Results) -> None:
        """The run has come to its end."""


CALLBACKS: Registry[Callable[..., Callback]] = Registry(
    "callback",
    "fedvoice.callbacks",
    {"log": "fedvoice.reporting.callbacks:Log"},
)
"""Classes or functions that make a `Callback` from options."""


CallbackSpec = str | Mapping[str, Any]
"""A callback by name, or as a table `{name, ...options}`; picklable."""


def travelling(wanted: Iterable[CallbackSpec]) -> tuple[CallbackSpec, ...]:
    """The same callbacks by names that other processes know.

    Raises:
        FedvoiceError: `bad-plugin` for one that can be imported nowhere else.
    """
    tables = [{"name": one} if isinstance(one, str) else dict(one) for one in wanted]
    return tuple({**one, "name": CALLBACKS.travelling(str(one.get("name", "")))} for one in tables)


def make_callbacks(wanted: Iterable[CallbackSpec]) -> list[Callback]:
    """The callbacks that are so specified.

    Raises:
        FedvoiceError: `bad-plugin`.
    """
    made: list[Callback] = []
    for one in wanted:
        options = {"name": one} if isinstance(one, str) else dict(one)
        name = str(options.pop("name", ""))
        with CALLBACKS.naming(name):
            made.append(Named(CALLBACKS.get(name)(**options), name))
    return made


class Named(Callback):
    """A plugged-in callback: what it raises names it."""

    def __init__(self, inner: Callback, name: str) -> None:
        self._inner, self._name = inner, name

    def began(self, run: RunInfo) -> None:
        """See `Callback`."""
        with CALLBACKS.naming(self._name):
            self._inner.began(run)

    def noted(self, what: str) -> None:
        """See `Callback`."""
        with CALLBACKS.naming(self._name):
            self._inner.noted(what)

    def round_begins(self, number: int) -> None:
        """See `Callback`."""
        with CALLBACKS.naming(self._name):
            self._inner.round_begins(number)

    def round_ended(self, end: RoundEnd) -> bool:
        """See `Callback`."""
        with CALLBACKS.naming(self._name):
            return self._inner.round_ended(end)

    def ended(self, results: Results) -> None:
        """See `Callback`."""
        with CALLBACKS.naming(self._name):
            self._inner.ended(results)


class Callbacks(Callback):
    """Several as one, told in their order; a run ends when one of them says so, and the others
    have heard of the round."""

    def __init__(self, inner: Sequence[Callback]) -> None:
        self._inner = list(inner)

    def began(self, run: RunInfo) -> None:
        """See `Callback`."""
        for one in self._inner:
            one.began(run)

    def noted(self, what: str) -> None:
        """See `Callback`."""
        for one in self._inner:
            one.noted(what)

    def round_begins(self, number: int) -> None:
        """See `Callback`."""
        for one in self._inner:
            one.round_begins(number)

    def round_ended(self, end: RoundEnd) -> bool:
        """See `Callback`."""
        return any([one.round_ended(end) for one in self._inner])

    def ended(self, results: Results) -> None:
        """See `Callback`."""
        for one in self._inner:
            one.ended(results)


class Log(Callback):
    """A line a round to Python's logging, as `fedvoice.run`."""

    def round_ended(self, end: RoundEnd) -> bool:
        """See `Callback`."""
        row = end.result
        rates = ", ".join(f"{name} {rate:.1f} %" for name, rate in end.rates.items())
        log.info(
            "round %d of %d: %s, loss %s%s",
            row.round,
            end.rounds,
            row.end,
            "-" if row.loss is None else f"{row.loss:.3f}",
            f", {rates}" if rates else "",
        )
        return False

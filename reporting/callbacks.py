"""Callbacks: one hook interface for all runs.

Hooks are called at the start of a run, at each long part before the first round, before and after
each round, and at the end. Pruning, progress, logging and trackers are callbacks. They
run in the process that drives the rounds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedvoice.protocol.registry import Registry
from fedvoice.reporting.results import Results, RoundResult

log = logging.getLogger("fedvoice.run")


@dataclass(frozen=True)
class RunInfo:
    """A run before its first round. rounds: number of rounds of the whole run; done: rounds already
    done, of which nothing is told again. resumed: it began earlier, perhaps in another process.
    config: its settings, as in results.json. folder: its own; None: it keeps nothing."""

    name: str
    rounds: int
    done: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    resumed: bool = False


@dataclass(frozen=True)
class RoundEnd:
    """A round and the evaluation that followed it.

    rates: error rates in percent by test set (`wer`, `heldout_wer`) and of all together (`pooled`),
    and of characters (`cer`, `heldout_cer`, `pooled_cer`) where the model recognises speech; empty
    where the round was not evaluated. weights: float32 [P] after it, not to be written to;
    None where only a server has them.
    """

    result: RoundResult
    rounds: int
    rates: Mapping[str, float] = field(default_factory=dict)
    weights: npt.NDArray[np.float32] | None = None


class Callback:
    """The hooks of one run; subclasses override those that they need. An exception ends the run,
    after a checkpoint."""

    def began(self, run: RunInfo) -> None:
        """The run has started, or is resumed."""

    def noted(self, what: str) -> None:
        """A long part before the first round starts; `what` describes it in a few words."""

    def stated(self, what: str) -> None:
        """A fact about the run that stays true, before the first round: what is used of the
        corpus, what its partition gives."""
        self.noted(what)

    def round_begins(self, number: int) -> None:
        """Round `number` (from 1) starts."""

    def round_ended(self, end: RoundEnd) -> bool:
        """A round has ended. True ends the run here, as a regular result."""
        return False

    def ended(self, results: Results) -> None:
        """The run has ended."""


CALLBACKS: Registry[Callable[..., Callback]] = Registry(
    "callback",
    "fedvoice.callbacks",
    {
        "log": "fedvoice.reporting.callbacks:Log",
        "csv": "fedvoice.reporting.trackers.csv:Csv",
        "tensorboard": "fedvoice.reporting.trackers.tensorboard:TensorBoard",
        "mlflow": "fedvoice.reporting.trackers.mlflow:MlFlow",
        "wandb": "fedvoice.reporting.trackers.wandb:Wandb",
    },
)
"""Classes or functions that make a `Callback` from options."""


CallbackSpec = str | Mapping[str, Any]
"""A callback by name, or as a table `{name, ...options}`; picklable."""


def travelling(wanted: Iterable[CallbackSpec]) -> tuple[CallbackSpec, ...]:
    """The same callbacks by names that other processes can import.

    Raises:
        FedvoiceError: `bad-plugin` for one that cannot be imported elsewhere.
    """
    tables = [{"name": one} if isinstance(one, str) else dict(one) for one in wanted]
    return tuple({**one, "name": CALLBACKS.travelling(str(one.get("name", "")))} for one in tables)


def make_callbacks(wanted: Iterable[CallbackSpec]) -> list[Callback]:
    """Build callbacks from their specifications.

    Raises:
        FedvoiceError: `bad-plugin`.
    """
    made: list[Callback] = []
    for one in wanted:
        options = {"name": one} if isinstance(one, str) else dict(one)
        name = str(options.pop("name", ""))
        made.append(Named(CALLBACKS.make(name, options), name))
    return made


class Named(Callback):
    """A plug-in's callback: its exceptions name it."""

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

    def stated(self, what: str) -> None:
        """See `Callback`."""
        with CALLBACKS.naming(self._name):
            self._inner.stated(what)

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
    """Several callbacks as one, called in order. The run ends if one of them returns True; the
    others are called for that round nonetheless."""

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

    def stated(self, what: str) -> None:
        """See `Callback`."""
        for one in self._inner:
            one.stated(what)

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
    """Logs a line a round to the logger `fedvoice.run`, and what is said before the first."""

    def stated(self, what: str) -> None:
        """See `Callback`."""
        log.info("%s", what)

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

"""Exact rewriting of a user's module while it runs: a table of torch functions and replacements.

A `TorchFunctionMode` sees each call before autograd does, whoever wrote it: no module is replaced,
no graph is matched, and `nn.LSTM` or `F.ctc_loss` of any library are met at one place. It notes
what was rewritten, what the host must draw, and which numbers Python read from tensors.

A module runs twice in it. `Rewriting()` is the first, eager run, which finds draws and numbers;
`Rewriting(masks, values)` is the traced one, which gets both back in the same order.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NoReturn, TypeVar

import torch
from torch import Tensor
from torch._ops import OpOverloadPacket
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from fedvoice.model_export.traced.constructs import constructs
from fedvoice.model_export.traced.place import place_in_users_code
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

DrawKind = Literal["dropout", "uniform"]


@dataclass(frozen=True)
class Drawn:
    """What the host draws for each step.

    Attributes:
        kind: "uniform" in [0, 1), or "dropout": 0 with probability `p`, else 1 / (1 - p).
    """

    kind: DrawKind
    shape: tuple[int, ...]
    p: float = 0.0


@dataclass(frozen=True)
class Number:
    """What Python read from a tensor: a number, a list of them or a shape, and where."""

    value: object
    place: str


@dataclass
class Notes:
    """What a run in the mode met, in order."""

    rewritten: Counter[str] = field(default_factory=Counter)
    drawn: list[Drawn] = field(default_factory=list)
    numbers: list[Number] = field(default_factory=list)


@dataclass(frozen=True)
class Rewrite:
    """A replacement `run(mode, *args, **kwargs)` by the name of its construct.

    It may return `NotImplemented` to leave a call as it is.
    """

    name: str
    run: Callable[..., Any]


Function = Callable[..., Any]
F = TypeVar("F", bound=Function)
TABLE: dict[Function | str, Rewrite] = {}
"""By torch function; operators of libraries that need not be there by name ("library.operator")."""


DRAWING = {
    *("dropout", "alpha_dropout", "rand", "randint", "bernoulli", "other_draws", "batch_norm"),
    # Where dropout may be inside.
    *("attention", "lstm", "gru", "rnn", "packed_sequence", "sort", "indexing"),
}
"""Rewrites that remain when a module is computed as PyTorch does it, but for what is drawn."""


def _by_tensor() -> MutableMapping[Tensor, Any]:
    """Facts about tensors, compared by identity, as long as they live."""
    facts: MutableMapping[Tensor, Any] = WeakIdKeyDictionary()
    return facts


def replaces(*functions: Function | str, name: str = "") -> Callable[[F], F]:
    """Makes a function the replacement of others, under its own name unless told."""

    def put(run: F) -> F:
        rewrite = Rewrite(name or run.__name__, run)
        TABLE.update(dict.fromkeys(functions, rewrite))
        return run

    return put


class Rewriting(TorchFunctionMode):
    """The mode. See the module's text.

    Args:
        masks: what the host drew, in the order of `notes.drawn`. None: the first run.
        values: of the numbers that the first run read, in order (`first.values`). None: read anew.
        wanted: numbers of another run, which this one must read too whatever was drawn.
        draws_only: rewrite no more than what draws, and batch norm, which is frozen: a module as
            PyTorch computes it, but with the host's draws, to compare a program with.
    """

    def __init__(
        self,
        masks: Sequence[Tensor] | None = None,
        values: Iterable[object] | None = None,
        *,
        wanted: Sequence[Number] | None = None,
        draws_only: bool = False,
    ) -> None:
        super().__init__()
        self.draws_only = draws_only
        self.notes = Notes()
        self._masks = None if masks is None else iter(masks)
        self._replayed = None if values is None else iter(list(values))
        self._wanted = None if wanted is None else iter(wanted)
        self.uniform: MutableMapping[Tensor, None] = _by_tensor()
        """Uniform draws, as they are."""
        self._kept: Mapping[str, Tensor] = {}
        self._versions: list[int] = []
        self._written = _by_tensor()
        self._unreadable = _by_tensor()
        self.stands_for: MutableMapping[Tensor, tuple[Tensor, ...]] = _by_tensor()
        """What a stand-in is made of: labels chosen by a mask, row counts of a packed sequence."""

    @property
    def first(self) -> bool:
        """Whether this is the run that finds the numbers."""
        return self._replayed is None

    @property
    def values(self) -> list[object]:
        """Of all numbers that were read."""
        return [number.value for number in self.notes.numbers]

    def keep(self, buffers: Mapping[str, Tensor]) -> None:
        """Refuses what writes into one of these, by the user's line."""
        self._kept, self._versions = buffers, [buffer._version for buffer in buffers.values()]

    def _refuse_writes(self) -> None:
        for (name, buffer), version in zip(self._kept.items(), self._versions, strict=True):
            if buffer._version != version or buffer in self._written:
                row = constructs()["kept_state"]
                wanted = "buffers that stay as they are: what a phone writes reaches no server"
                self.refuse(f"a write into the buffer {name}", wanted, row.alternative)

    def draw(self, kind: DrawKind, shape: Sequence[int], p: float = 0.0) -> Tensor:
        """A tensor that the host draws; in the first run a stand-in."""
        self.notes.drawn.append(Drawn(kind, tuple(shape), p))
        mask = self._mask(kind, shape)
        if kind == "uniform":
            self.uniform[mask] = None
        return mask

    def _mask(self, kind: DrawKind, shape: Sequence[int]) -> Tensor:
        if self._masks is None:
            return torch.ones(*shape) if kind == "dropout" else torch.full(tuple(shape), 0.5)
        mask = next(self._masks, None)
        if mask is not None and self.draws_only and mask.dim() == len(shape):
            # A batch shorter than the bucket: what the program has beyond its end plays no part.
            mask = mask[tuple(slice(length) for length in shape)]
        if mask is None or mask.shape != tuple(shape):
            self._runs_differ(f"a draw of shape {list(shape)}")
        return mask

    def number(self, read: Callable[[], Any]) -> Any:
        """What `read` finds in a tensor; in the traced run what it found in the first."""
        place = place_in_users_code()
        nothing = object()
        value = read() if self._replayed is None else next(self._replayed, nothing)
        if value is nothing:
            self._runs_differ("a number read from a tensor")
        number = Number(value, place)
        self.notes.numbers.append(number)
        if self._wanted is not None and repr(next(self._wanted, None)) != repr(number):
            self.refuse_drawn()
        return value

    def refuse_drawn(self) -> NoReturn:
        """Stops where Python reads what was drawn."""
        row = constructs()["drawn_number"]
        self.refuse(row.title, "what a training program computes exactly", row.alternative)

    def refuse(self, got: str, wanted: str, next_step: str) -> NoReturn:
        """Stops at a construct that cannot be rewritten exactly, and names the user's line."""
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=place_in_users_code(),
            got=got,
            wanted=wanted,
            next_step=next_step,
        )

    def write(self, x: Tensor, result: Tensor) -> Tensor:
        """Takes `result` for what an in-place function would have written into x.

        From now on x stands for it. Really written, views would be scattered back by operators that
        no runtime has.
        """
        if result is x:
            return x
        self._written[x] = result
        if x._base is not None:
            self.mark_unreadable(x._base, partial(self._refuse_alias, place_in_users_code()))
        return result

    def latest(self, x: Tensor) -> Tensor:
        """x, or what was written in place of it; for a module's results."""
        while x in self._written:
            x = self._written[x]
        if x in self._unreadable:
            self._unreadable[x]()
        if self._written and x._base is not None and x._base in self._written:
            self._refuse_alias("its whole")
        return x

    def mark_unreadable(self, x: Tensor, refuse: Callable[[], NoReturn]) -> None:
        """Calls `refuse` at every use of x's values from now on."""
        self._unreadable[x] = refuse

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """See `TorchFunctionMode`; the mode is off inside."""
        result = self._called(func, args, kwargs or {})
        if self._kept:
            self._refuse_writes()
        return result

    def _called(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if (self._written or self._unreadable) and not self._may_read(func, args):
            args, kwargs = tree_map_only(Tensor, self.latest, (args, kwargs))
        rewrite = TABLE.get(str(func) if isinstance(func, OpOverloadPacket) else func)
        if rewrite is not None and (not self.draws_only or rewrite.name in DRAWING):
            result = rewrite.run(self, *args, **kwargs)
            if result is not NotImplemented:
                self.notes.rewritten[rewrite.name] += 1
                return result
        if getattr(func, "__module__", None) == functional.__name__:
            with _seen_inside(), self:
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    def _may_read(self, func: Any, args: Any) -> bool:
        """Whether a function may have any tensor as it stands."""
        return func in _TAKES_CHOSEN or (func in _LOOKS and args[0] not in self.stands_for)

    def _refuse_alias(self, what: str) -> NoReturn:
        self.refuse(
            f"a tensor that shares memory with one changed in place ({what})",
            "tensors that stay as they were made",
            "Use the function that returns a new tensor, and use what it returns.",
        )

    def _runs_differ(self, got: str) -> NoReturn:
        self.refuse(
            f"{got} that the module's first run did not make",
            "a module that does the same twice for the same inputs",
            "Keep no state between calls, and draw only by torch.rand and dropout.",
        )


_LOOKS = {
    Tensor.size,
    Tensor.dim,
    *(getattr(Tensor, name).__get__ for name in ("shape", "ndim", "dtype", "device")),
}
"""Functions that read no value."""

_TAKES_CHOSEN = {functional.ctc_loss, torch.ctc_loss}
"""Functions that take labels chosen by a mask, see `rewrites/ctc.py`."""

_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
_LOCK = threading.RLock()


@contextmanager
def _seen_inside() -> Iterator[None]:
    """Lets the mode see what Python functions of `torch.nn.functional` call.

    Each such function hands itself to the mode if a mode is on, and would do so for ever; without
    one on, nothing that it calls is seen. So for this thread their check is answered with no.
    """
    thread, names = threading.get_ident(), vars(functional)

    def answered(check: Callable[..., bool]) -> Callable[..., bool]:
        return lambda *tensors: threading.get_ident() != thread and check(*tensors)

    with _LOCK:
        before = {name: names[name] for name in _CHECKS}
        names.update({name: answered(check) for name, check in before.items()})
        try:
            yield
        finally:
            names.update(before)

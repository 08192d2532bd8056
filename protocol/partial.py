"""Which part of a model trains: frozen parameters, and low-rank adapters in their place.

Frozen tensors lie in the program, so only what trains is downloaded, held with a gradient, and
uploaded. An adapted matrix W [M, N] stays frozen and acts as W + scale * B A with B [M, r] and
A [r, N] that train (LoRA, Hu et al. 2021, section 4.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

ADAPTER_A = ".lora_a"
ADAPTER_B = ".lora_b"
"""What an adapter's two matrices are called after their parameter's name."""


class Adapters(BaseModel):
    """Low-rank adapters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    matrices: tuple[str, ...] = Field(min_length=1)
    """Patterns of names, `*` for any letters; of what they match, matrices are adapted."""
    rank: int = Field(default=4, ge=1)
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class PartialTraining(BaseModel):
    """What of a model trains; by default all of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    freeze: tuple[str, ...] = ()
    """Patterns of names of parameters that stay as they are, e.g. `encoder.*`."""
    adapters: Adapters | None = None
    int8: bool = False
    """Whether frozen matrices are kept as int8 with one scale a row, not as float32."""


@dataclass(frozen=True)
class Parts:
    """The parameters of a model by what becomes of them; each in the model's order.

    Attributes:
        trained: they train as they are.
        frozen: they do not.
        adapted: of the frozen ones those with an adapter.
    """

    trained: tuple[str, ...]
    frozen: tuple[str, ...]
    adapted: tuple[str, ...]


def divide(partial: PartialTraining, shapes: Mapping[str, tuple[int, ...]], where: str) -> Parts:
    """Divide parameters, name -> shape, as `partial` says.

    Raises:
        FedvoiceError: `bad-config` for a pattern that matches nothing, a rank that saves nothing,
            or if nothing trains.
    """
    frozen = _matched(partial.freeze, list(shapes), f"{where}, freeze", "a parameter")
    adapted: set[str] = set()
    if partial.adapters is not None:
        matrices = [name for name, shape in shapes.items() if len(shape) == 2]
        adapted = _matched(
            partial.adapters.matrices, matrices, f"{where}, adapters.matrices", "a matrix"
        )
        for name in sorted(adapted):
            _check_rank(partial.adapters.rank, name, shapes[name], f"{where}, adapters.rank")
    frozen |= adapted
    if len(frozen) == len(shapes) and not adapted:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=f"{where}, freeze",
            got=f"{', '.join(partial.freeze)}: all {len(shapes)} parameters",
            wanted="at least one parameter, or an adapter, that trains",
            next_step="Freeze fewer, or add adapters.",
        )
    return Parts(
        trained=tuple(name for name in shapes if name not in frozen),
        frozen=tuple(name for name in shapes if name in frozen),
        adapted=tuple(name for name in shapes if name in adapted),
    )


def _check_rank(rank: int, name: str, shape: tuple[int, ...], where: str) -> None:
    rows, columns = shape
    if rank * (rows + columns) >= rows * columns:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=where,
            got=f"{rank} for {name} [{rows}, {columns}]: the adapter is as large as the matrix",
            wanted="a rank r with r * (rows + columns) below rows * columns",
            next_step="Lower the rank, or leave this matrix out: it then trains itself.",
        )


def _matched(patterns: Sequence[str], names: Sequence[str], where: str, what: str) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        matching = {name for name in names if fnmatchcase(name, pattern)}
        if not matching:
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where=where,
                got=repr(pattern),
                wanted=f"a pattern that matches the name of {what}: {', '.join(names)}",
                next_step="Correct the pattern; * stands for any letters.",
            )
        found |= matching
    return found

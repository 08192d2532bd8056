"""Tensors of somebody's checkpoint under a model's names: a pure function, and its name map."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict
from torch import Tensor

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.settings import read_toml, validated

STAR = "*"
STARS_AT_MOST = 3
"""In a pattern: matching takes time that grows with a name's length to this power."""
_SHOWN_AT_MOST = 6
"""Names in a line of a report."""

Shape = tuple[int, ...]


def _checked(pattern: str) -> str:
    if not pattern or pattern.count(STAR) > STARS_AT_MOST:
        raise ValueError(f"a pattern is a name with at most {STARS_AT_MOST} stars")
    return pattern


Pattern = Annotated[str, AfterValidator(_checked)]


class WeightsMap(BaseModel):
    """Under which names a file has a model's tensors.

    A star stands for any text, as short as it can be; the n-th star of the file's name is what the
    n-th one of the model's stood for. The first pattern that fits a name counts; a name that none
    fits is the same in the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: dict[Pattern, Pattern | tuple[Pattern, ...]] = {}
    """The model's name -> the file's; several are added up, as the two biases of PyTorch's LSTM
    are in one that has a single bias."""
    transpose: tuple[Pattern, ...] = ()
    """Names of the model whose matrices the file has the other way round."""

    def sources(self, name: str) -> tuple[str, ...]:
        """The file's names of the model's tensor `name`."""
        for ours, theirs in self.names.items():
            stood_for = _match(ours, name)
            if stood_for is not None:
                several = (theirs,) if isinstance(theirs, str) else theirs
                return tuple(_filled(one, stood_for) for one in several)
        return (name,)

    def transposes(self, name: str) -> bool:
        """Whether the file has the model's tensor `name` the other way round."""
        return any(_match(pattern, name) is not None for pattern in self.transpose)


class Seeds(NamedTuple):
    """What a file gave to a model.

    taken: by the model's names, as the file has them, in their own dtypes. missing: names of the
    model that the file lacks. unused: names of the file.
    """

    taken: dict[str, Tensor]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        """The report for a person."""
        whole = len(self.taken) + len(self.missing)
        found = [f"weights: {len(self.taken)} of {whole} tensors taken"]
        if self.missing:
            found.append(f"left at their initial values: {shortened(self.missing)}")
        if self.unused:
            found.append(f"not used of the file: {shortened(self.unused)}")
        return tuple(found)


def take_seeds(
    tensors: Mapping[str, Tensor],
    names: WeightsMap,
    wanted: Mapping[str, Shape],
    *,
    where: str = "weights",
) -> Seeds:
    """The tensors that a model wants out of a file's.

    Args:
        tensors: by the file's names.
        wanted: the model's names and shapes.
        where: the file, for errors.

    Raises:
        FedvoiceError: `wrong-shape` for a tensor that is found with another shape.
    """
    taken: dict[str, Tensor] = {}
    used: set[str] = set()
    for name, shape in wanted.items():
        sources = names.sources(name)
        if not all(source in tensors for source in sources):
            continue
        parts = [tensors[source] for source in sources]
        if names.transposes(name):
            parts = [part.t() if part.dim() == 2 else part for part in parts]
        for source, part in zip(sources, parts, strict=True):
            if tuple(part.shape) != tuple(shape):
                raise _wrong_shape(where, name, source, part, shape)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        taken[name] = total
        used |= set(sources)
    missing = tuple(name for name in wanted if name not in taken)
    return Seeds(taken, missing, tuple(name for name in tensors if name not in used))


def read_weights_map(path: Path) -> WeightsMap:
    """A name map in TOML: table `names`, and `transpose`.

    Raises:
        FedvoiceError: `not-found`, `bad-config`.
    """
    fields = read_toml(
        path, wanted="a name map in TOML", next_step="docs/seeds-and-releases.md has an example."
    )
    return validated(
        WeightsMap,
        fields,
        str(path),
        wanted='[names] "encoder.*" = "model.encoder.*", and transpose = ["head.weight"]',
        next_step="Correct the file; docs/seeds-and-releases.md has an example.",
    )


def shortened(names: Iterable[str]) -> str:
    """The first few of many names."""
    listed = list(names)
    more = len(listed) - _SHOWN_AT_MOST
    return ", ".join(listed[:_SHOWN_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _match(pattern: str, name: str) -> tuple[str, ...] | None:
    """What the stars of a pattern stand for in a name; None if it does not fit."""
    expression = "(.*?)".join(re.escape(part) for part in pattern.split(STAR))
    found = re.fullmatch(expression, name, re.DOTALL)
    return None if found is None else found.groups()


def _filled(pattern: str, texts: tuple[str, ...]) -> str:
    parts = pattern.split(STAR)
    filled = [text + part for text, part in zip(texts, parts[1:], strict=False)]
    return parts[0] + "".join(filled)


def _wrong_shape(where: str, name: str, source: str, got: Tensor, wanted: Shape) -> FedvoiceError:
    turned = got.dim() == 2 and tuple(got.t().shape) == tuple(wanted)
    hint = f'If it is the matrix the other way round, add transpose = ["{name}"] to the map.'
    return FedvoiceError(
        ErrorCode.WRONG_SHAPE,
        where=f"{where}, {source} as {name}",
        got=str(list(got.shape)),
        wanted=str(list(wanted)),
        next_step=hint if turned else "Give the model's settings as they were, or another name.",
    )

"""The table of constructs: what a phone's stock runtime makes of each, and what fedvoice does.

    python -m fedvoice.model_export.traced.constructs

prints it as it stands in docs/your-model.md.
"""

from __future__ import annotations

import pkgutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any


class Verdict(StrEnum):
    """What fedvoice does with a construct."""

    REWRITTEN = "rewritten"
    REFUSED = "refused"
    AS_IT_IS = "as it is"


_ORDER = (Verdict.REWRITTEN, Verdict.AS_IT_IS, Verdict.REFUSED)


@dataclass(frozen=True)
class Construct:
    """One row.

    Attributes:
        name: of its rewrite.
        title: for readers.
        functions: dotted names of the torch functions that are met, or "library.operator".
        stock: what the stock runtime does with it: right, silently wrong, or where it fails.
        verdict: what fedvoice does.
        form: what it is rewritten to, and with which limits; or why it is left as it is.
        alternative: of what is refused, always or in part: what to write instead.
    """

    name: str
    title: str
    stock: str
    verdict: Verdict
    functions: tuple[str, ...] = ()
    form: str = ""
    alternative: str = ""


@cache
def constructs() -> dict[str, Construct]:
    """All rows by name."""
    text = (Path(__file__).parent / "constructs.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["construct"]
    found = [
        Construct(
            **row | {"verdict": Verdict(row["verdict"]), "functions": tuple(row["functions"])}
        )
        for row in rows
    ]
    return {row.name: row for row in found}


def torch_function(name: str) -> Callable[..., Any] | str:
    """The function of a dotted name; operators of other libraries stay names."""
    if not name.startswith(("torch.", "fedvoice.")):
        return name
    function: Callable[..., Any] = pkgutil.resolve_name(name)
    return function


def as_markdown() -> str:
    """The table for readers, refusals last."""
    lines = ["| Construct | Stock runtime | fedvoice |", "|---|---|---|"]
    for row in sorted(constructs().values(), key=lambda row: _ORDER.index(row.verdict)):
        ours = f"{row.verdict.value}: {row.form}" if row.form else row.verdict.value
        if row.alternative:
            ours += f". Instead: {row.alternative.removesuffix('.')}"
        cells = (row.title, row.stock, ours)
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_markdown())

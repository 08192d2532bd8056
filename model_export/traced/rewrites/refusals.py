"""What cannot be rewritten exactly is refused, with the user's line and what to write instead."""

from __future__ import annotations

from functools import partial
from typing import Any, NoReturn

from fedvoice.model_export.traced.constructs import Verdict, constructs, torch_function
from fedvoice.model_export.traced.rewriting import Rewriting, replaces


def refuse(mode: Rewriting, name: str, got: str = "") -> NoReturn:
    """Refuses the construct of this name; `got` says which part of it, if not all."""
    row = constructs()[name]
    mode.refuse(
        got or row.title,
        "what a training program computes exactly",
        row.alternative,
    )


def _always(name: str, function: str, mode: Rewriting, *args: Any, **kwargs: Any) -> NoReturn:
    refuse(mode, name, function)


for _row in constructs().values():
    if _row.verdict is Verdict.REFUSED:
        for _function in _row.functions:
            run = partial(_always, _row.name, _function)
            replaces(torch_function(_function), name=_row.name)(run)

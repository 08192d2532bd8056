"""What an export tells of a traced module: what was rewritten and what became fixed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from fedvoice.model_export.traced.step import TracedStep


@dataclass(frozen=True)
class Account:
    """Of all buckets' steps.

    Attributes:
        rewritten: names of constructs, as in the table of docs/your-model.md, sorted.
        numbers: what Python read from tensors and so became fixed, in order: `values at
            file:line`, the values being those of the buckets.
        unused: parameters that the loss does not depend on; they never change.
    """

    rewritten: tuple[str, ...]
    numbers: tuple[str, ...]
    unused: tuple[str, ...]


def account_of(graphs: Iterable[nn.Module]) -> Account | None:
    """Of the methods' graphs; None where no step is traced."""
    steps = [graph.traced for graph in graphs if isinstance(graph, TracedStep)]
    if not steps:
        return None
    found: dict[str, dict[str, None]] = {}
    for number in (number for step in steps for number in step.notes.numbers):
        found.setdefault(number.place, {})[str(number.value)] = None
    return Account(
        rewritten=tuple(sorted({name for step in steps for name in step.notes.rewritten})),
        numbers=tuple(f"{', '.join(values)} at {place}" for place, values in found.items()),
        unused=tuple(dict.fromkeys(name for step in steps for name in step.unused)),
    )

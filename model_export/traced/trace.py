"""A user's module as one plain graph, forward and backward, by tracing autograd.

`make_fx` over `torch.autograd.grad`, not `torch.export`: no compiler refuses the module's Python,
hand-written autograd functions are followed (`torch.export` drops their backward), tied weights,
hooks and parametrizations do no harm. `torch.export` comes second, on the plain graph.

Two runs in the rewriting mode. The first, eager, notes what the host must draw and which numbers
Python reads from tensors; the second, with fake tensors, gets both back in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.func import functional_call
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_map_only

from fedvoice.model_export.traced import rewrites as rewrites
from fedvoice.model_export.traced.decompositions import decompositions
from fedvoice.model_export.traced.drawn_numbers import other_draws
from fedvoice.model_export.traced.draws import count_draws, split_draws
from fedvoice.model_export.traced.rewriting import Drawn, Notes, Rewriting
from fedvoice.model_export.traced.tidy import own_pieces, tidy

Use = Callable[[Any, Sequence[Tensor]], Any]
"""(module, inputs) -> tensors."""
Whole = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""What trains, by name -> tensors of the module, by its own names."""
Flatten = Callable[[dict[str, Tensor]], Tensor]
"""Gradients by parameter name -> the flat vector [P]."""


@dataclass(frozen=True)
class Traced:
    """A plain graph of a module.

    Attributes:
        graph: takes the trained tensors in order, then the inputs, then the D numbers that the
            host draws, if it draws any.
        drawn: what these are for, in order.
        notes: what was rewritten, and the numbers that became part of the graph.
        unused: parameters that the result does not depend on; their gradient is 0.
    """

    graph: GraphModule
    drawn: tuple[Drawn, ...]
    notes: Notes
    unused: tuple[str, ...]


def trace_gradient(
    module: nn.Module,
    trained: Mapping[str, Tensor],
    inputs: Sequence[Tensor],
    loss: Use,
    flatten: Flatten,
    whole: Whole,
) -> Traced:
    """The graph (trained tensors, inputs, draws) -> loss [], flat gradient [P].

    Args:
        trained: what takes a gradient, in the graph's order. All tensors of the module that
            `whole` does not make of it become constants.
        inputs: tensors of the graph's sizes. Numbers that Python reads from them are fixed.
        loss: (module, inputs) -> [], differentiable.
    """
    unused: dict[str, None] = {}

    def differentiated(result: Tensor, leaves: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        found = torch.autograd.grad(result, list(leaves.values()), allow_unused=True)
        gradients = {}
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
            if gradient is None:
                unused[name] = None
            gradients[name] = torch.zeros_like(leaf) if gradient is None else gradient
        return result.reshape(()), flatten(gradients)

    traced = _trace(module, trained, inputs, loss, whole, differentiated)
    output = next(node for node in traced.graph.graph.nodes if node.op == "output")
    own_pieces(traced.graph, output.args[0][1])
    return replace(traced, unused=tuple(unused))


def trace_result(
    module: nn.Module,
    trained: Mapping[str, Tensor],
    inputs: Sequence[Tensor],
    use: Use,
    whole: Whole,
) -> Traced:
    """The graph (trained tensors, inputs) -> the tensors that `use` makes, without gradients."""
    return _trace(module, trained, inputs, use, whole, None)


class _Calling(nn.Module):
    """Gives whatever uses a module a `forward`, which is what tensors are swapped for."""

    def __init__(self, module: nn.Module, use: Use) -> None:
        super().__init__()
        self.used, self._use = module, use

    def forward(self, inputs: Sequence[Tensor]) -> Any:
        return self._use(self.used, inputs)

    def with_tensors(self, tensors: dict[str, Tensor], inputs: Sequence[Tensor]) -> Any:
        """The same with these tensors for the module's parameters."""
        named = {f"used.{name}": tensor for name, tensor in tensors.items()}
        return functional_call(self, named, (inputs,), tie_weights=True)


def _trace(
    module: nn.Module,
    trained: Mapping[str, Tensor],
    inputs: Sequence[Tensor],
    use: Use,
    whole: Whole,
    differentiated: Callable[[Tensor, dict[str, Tensor]], Any] | None,
) -> Traced:
    calling = _Calling(module, use)
    values = list(trained.values())
    with torch.no_grad(), Rewriting() as first:
        first.keep(dict(module.named_buffers()))
        calling.with_tensors(whole(dict(trained)), inputs)
    drawn = tuple(first.notes.drawn)
    if first.notes.numbers and any(draw.kind == "uniform" for draw in drawn):
        for masks in other_draws(drawn):
            with torch.no_grad(), Rewriting(masks, wanted=first.notes.numbers):
                calling(inputs)

    def run(*tensors: Tensor) -> Any:
        given, rest = tensors[: len(values)], tensors[len(values) :]
        leaves = {n: t.detach() for n, t in zip(trained, given, strict=True)}
        # Only around the module: autograd is to see what the replacements are made of.
        masks = split_draws(drawn, rest[-1]) if drawn else []
        mode = Rewriting(masks, first.values)
        if differentiated is None:
            with torch.no_grad(), mode:
                found = calling.with_tensors(whole(leaves), rest[: len(inputs)])
                return tree_map_only(Tensor, mode.latest, found)
        leaves = {name: leaf.requires_grad_() for name, leaf in leaves.items()}
        with torch.enable_grad(), mode:
            found = mode.latest(calling.with_tensors(whole(leaves), rest[: len(inputs)]))
        return differentiated(found, leaves)

    draws = [torch.full((count_draws(drawn),), 0.5)] if drawn else []
    arguments = (*values, *inputs, *draws)
    graph = _made(run, arguments)
    if any(_mutates(node.target) for node in graph.graph.nodes):
        graph = _made(torch.func.functionalize(graph), arguments)
    tidy(graph)
    return Traced(graph, drawn, first.notes, ())


def _made(function: Callable[..., Any], arguments: Sequence[Tensor]) -> GraphModule:
    trace = make_fx(
        function,
        decomposition_table=decompositions(),
        tracing_mode="fake",
        _allow_non_fake_inputs=True,
    )
    return trace(*arguments)


def _mutates(target: Any) -> bool:
    return isinstance(target, OpOverload) and target._schema.is_mutable

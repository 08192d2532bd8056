"""Several graphs to one program: export, lower, plan, and read back its requirements."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from executorch.exir import (
    EdgeCompileConfig,
    ExecutorchBackendConfig,
    ExecutorchProgramManager,
    to_edge,
)
from torch import Tensor, nn
from torch.export import ExportedProgram

from fedvoice.model_export.lowering.memory import FlatGradientPlan
from fedvoice.model_export.lowering.partitioner import RuntimeWeightPartitioner
from fedvoice.protocol.notes import Note

Inputs = tuple[Tensor | tuple[Tensor, ...], ...]


@dataclass(frozen=True)
class MethodSource:
    """A graph with example inputs; `dynamic_shapes` as in `torch.export.export`."""

    graph: nn.Module
    inputs: Inputs
    dynamic_shapes: Any = None


@dataclass(frozen=True)
class Program:
    """A lowered program.

    Attributes:
        data: bytes of the .pte file.
        arena_bytes: planned memory of each method.
        operators, delegates: names of what the runtime must provide, sorted.
    """

    data: bytes
    arena_bytes: dict[str, int]
    operators: tuple[str, ...]
    delegates: tuple[str, ...]


def lower(methods: dict[str, MethodSource], report: Note = lambda _: None) -> Program:
    """Lower graphs to one program of as many methods; `report` is called before each part.

    Raises:
        FedvoiceError: `gradient-check` if a gradient cannot be planned inside the flat output.
    """
    with _without_garbage_collection():
        final = _lower(methods, report)
    plans = final.executorch_program.execution_plan
    return Program(
        data=bytes(final.buffer),
        arena_bytes={plan.name: sum(plan.non_const_buffer_sizes) for plan in plans},
        operators=tuple(sorted({_operator_name(op) for p in plans for op in p.operators})),
        delegates=tuple(sorted({delegate.id for p in plans for delegate in p.delegates})),
    )


def _operator_name(operator: Any) -> str:
    return f"{operator.name}.{operator.overload}" if operator.overload else str(operator.name)


def _lower(methods: dict[str, MethodSource], report: Note) -> ExecutorchProgramManager:
    exported: dict[str, ExportedProgram] = {}
    for name, source in methods.items():
        report(f"trace {name}")
        with torch.no_grad():
            exported[name] = torch.export.export(
                source.graph.eval(),
                source.inputs,
                dynamic_shapes=source.dynamic_shapes,
                strict=False,
            )
    report("lower")
    # One decomposition pass that keeps linear whole; to_edge_transform_and_lower makes two.
    edge_config = EdgeCompileConfig(
        preserve_ops=[torch.ops.aten.linear.default], _check_ir_validity=False
    )
    edge = to_edge(exported, compile_config=edge_config)
    report("partition")
    edge = edge.to_backend({name: RuntimeWeightPartitioner() for name in methods})
    report("plan memory")
    return edge.to_executorch(ExecutorchBackendConfig(memory_planning_pass=FlatGradientPlan()))


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Tracing makes millions of small objects; collecting among them costs a fifth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()

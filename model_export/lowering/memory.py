"""Memory planning in which the flat gradient takes no extra space.

Three things are done to a graph before tensors are given their places:

1. The concatenation that forms the flat gradient is removed; each gradient is computed where
   it stands in the output.
2. Reversals, views and wider copies of constants sink to just before their first use, so that
   they live shortly.
3. Placeholders of loop bodies that are bound to captured tensors or to the carry get no space
   of their own.

Then tensors are packed by offset: largest first, at the lowest place that is free for as long
as they live.
"""

from __future__ import annotations

from typing import Any

from executorch.exir import memory
from executorch.exir.memory_planning import (
    MemoryAlgoResult,
    MemoryPlanningAlgorithmSuite,
    SpecAllocResult,
)
from executorch.exir.passes import MemoryPlanningPass
from executorch.exir.tensor import TensorSpec
from torch.fx import GraphModule, Node

from fedvoice.model_export.lowering.partitioner import is_loop
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

ARENA = 1
"""The runtime's planned buffer; 0 is reserved."""


class FlatGradientPlan(MemoryPlanningPass):  # type: ignore[misc]
    """Memory planning pass for methods that may end in a flat gradient."""

    def __init__(self) -> None:
        super().__init__(
            memory_planning_algo=MemoryPlanningAlgorithmSuite(algo_list=[pack_by_offset]),
            alloc_graph_input=False,
        )

    def run(self, graph_module: GraphModule, graph_signature: Any = None) -> Any:
        """Rewrite the graph as the module says and plan it.

        Raises:
            FedvoiceError: `gradient-check` if a gradient cannot lie inside the flat output.
        """
        place_gradients_in_output(graph_module, self.alignment)
        sink_to_first_use(graph_module)
        mark_bound_placeholders(graph_module)
        graph_module.recompile()
        return super().run(graph_module, graph_signature)


def place_gradients_in_output(module: GraphModule, alignment: int) -> None:
    """Plan every piece of a 1-D concatenation that is an output inside that output."""
    output = next(node for node in module.graph.nodes if node.op == "output")
    for node in list(module.graph.nodes):
        is_cat = node.op == "call_function" and "aten.cat" in str(node.target)
        if not is_cat or node not in output.all_input_nodes or len(node.meta["spec"].shape) != 1:
            continue
        flat: TensorSpec = node.meta["spec"]
        offset_bytes = 0
        placed: list[TensorSpec] = []
        for piece in node.args[0]:
            root = _viewed(piece)
            spec = root.meta["spec"]
            shared = any(spec is other for other in placed) or spec.storage_base is not None
            if root.op != "call_function" or spec.const or shared or offset_bytes % alignment:
                raise _unplaceable(root, spec, offset_bytes)
            spec.storage_base, spec.storage_base_offset = flat, offset_bytes
            placed.append(spec)
            offset_bytes += piece.meta["spec"].nbytes()
        _replace_by_view(module, node, node.args[0][0])


def _viewed(node: Node) -> Node:
    """The node that owns a view's memory."""
    while node.target is memory.view:
        node = node.args[0]  # type: ignore[assignment]
    return node


def _replace_by_view(module: GraphModule, node: Node, base: Node) -> None:
    with module.graph.inserting_before(node):
        view = module.graph.call_function(memory.view, (base, list(node.meta["spec"].shape)))
    view.meta = node.meta.copy()
    allocation = node.kwargs["out"]
    node.replace_all_uses_with(view)
    module.graph.erase_node(node)
    module.graph.erase_node(allocation)  # type: ignore[arg-type]


def _unplaceable(node: Node, spec: TensorSpec, offset_bytes: int) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.GRADIENT_CHECK,
        where=f"memory plan, gradient {node.name}",
        got=f"shared, constant or at byte {offset_bytes} ({list(spec.shape)})",
        wanted="a computed tensor of its own on 16 bytes",
        next_step="Give every parameter its own gradient node; put odd sizes into the tail.",
    )


def sink_to_first_use(module: GraphModule) -> None:
    """Move reversals, views and wider copies of constants to just before the first node that reads
    them."""
    position = {node: i for i, node in enumerate(module.graph.nodes)}
    for node in reversed(list(module.graph.nodes)):
        movable = "index_select" in str(node.target) or node.target is memory.view
        movable = movable or _widens_constant(node)
        if node.op != "call_function" or not movable or not node.users:
            continue
        first = min(node.users, key=lambda user: position[user])
        if first.op == "output":
            continue
        first.prepend(node)
        position[node] = position[first]
        if "out" in node.kwargs:
            node.prepend(node.kwargs["out"])


def _widens_constant(node: Node) -> bool:
    """Whether a node copies a constant to another type, as int8 matrices are to float32."""
    if node.op != "call_function" or "to_dim_order_copy" not in str(node.target):
        return False
    source = node.args[0]
    spec = source.meta.get("spec") if isinstance(source, Node) else None
    return isinstance(spec, TensorSpec) and bool(spec.const)


def mark_bound_placeholders(module: GraphModule) -> None:
    """Note which placeholders of each loop body are bound by the runtime."""
    for node in module.graph.nodes:
        if not is_loop(node):
            continue
        body = getattr(module, node.args[0].target)
        placeholders = [n.meta["spec"] for n in body.graph.nodes if n.op == "placeholder"]
        carried, scanned = len(node.args[1]), len(node.args[2])
        body.meta["bound_specs"] = placeholders[:carried] + placeholders[carried + scanned :]


def pack_by_offset(
    alignment: int,
    specs: set[TensorSpec],
    graph_module: GraphModule,
    graph_signature: Any,
    extra_padding: int = 0,
) -> MemoryAlgoResult:
    """Largest first, each at the lowest offset free during its lifetime."""
    sizes = getattr(graph_module, "input_mem_buffer_sizes", None) or [0, 0]
    start = sizes[ARENA] if len(sizes) > ARENA else 0
    bound = {id(spec) for spec in graph_module.meta.get("bound_specs", ())}
    result = MemoryAlgoResult({}, [])
    placed: list[tuple[int, int, int, int]] = []  # offset, bytes, first use, last use
    inside_others: list[TensorSpec] = []
    top = start
    for spec in specs:
        spec.realign(alignment)
    for i, spec in enumerate(sorted(specs, key=lambda s: -s.allocated_memory)):
        if id(spec) in bound:
            result.spec_dict[spec] = SpecAllocResult(ARENA, i, start)
        elif spec.storage_base is not None:
            inside_others.append(spec)
        else:
            first, last = spec.lifetime
            size = spec.allocated_memory
            offset = _lowest_gap(placed, start, size, first, last)
            placed.append((offset, size, first, last))
            top = max(top, offset + size)
            result.spec_dict[spec] = SpecAllocResult(ARENA, i, offset)
    for spec in inside_others:
        base = result.spec_dict[spec.storage_base]
        offset = base.mem_offset + spec.storage_base_offset
        result.spec_dict[spec] = SpecAllocResult(ARENA, base.mem_obj_id, offset)
    result.bufsizes = [0, top + extra_padding]
    return result


def _lowest_gap(
    placed: list[tuple[int, int, int, int]], start: int, size: int, first: int, last: int
) -> int:
    """Lowest offset where `size` bytes are free from `first` to `last`."""
    offset = start
    for other, other_size, other_first, other_last in sorted(placed):
        if other_first > last or first > other_last:
            continue
        if offset + size <= other:
            break
        offset = max(offset, other + other_size)
    return offset

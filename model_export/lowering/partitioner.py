"""Which nodes the XNNPACK delegate runs, and in how large pieces."""

from __future__ import annotations

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir.backend.canonical_partitioners.config_partitioner import format_target_name
from executorch.exir.backend.canonical_partitioners.pattern_op_partitioner import (
    generate_partitions_from_list_of_nodes,
)
from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.exir.backend.partitioner import DelegationSpec, PartitionResult
from executorch.exir.graph_module import get_control_flow_submodules
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.fx.passes.operator_support import OperatorSupportBase

PRODUCTS = {"mm.default", "addmm.default", "linear.default"}
"""Delegated with weights that are runtime values; XNNPACK's own check asks for constants."""

LEFT_TO_THE_PLANNER = {
    "clone.default",
    "_clone_dim_order.default",
    "convolution.default",
    "view_copy.default",
    "unsqueeze_copy.default",
    "squeeze_copy.dims",
}
"""Views cost nothing outside the delegate and a copy inside; clones guard against aliasing."""

MAX_DIMENSIONS = 6
MAX_INPUTS = 5
"""Of a concatenation in the delegate."""


class RuntimeWeightPartitioner(XnnpackPartitioner):  # type: ignore[misc]
    """XNNPACK for every supported float node, inside loop bodies too.

    A partition never spans a loop: otherwise all products for weight gradients merge into one
    late delegate and everything they read stays alive until then.
    """

    def __init__(self) -> None:
        super().__init__(force_non_static_weights_for_f32_linear=True)
        # With this key the delegate runs the one graph pass that these graphs need (mm to
        # linear) instead of all seventeen: half of the export time, the same bytes.
        only_linear = CompileSpec("dqlinear_partitioner", b"")
        self.delegation_spec = DelegationSpec("XnnpackBackend", [only_linear])

    def partition(self, exported_program: ExportedProgram) -> PartitionResult:
        """Tag nodes of the graph and of all loop bodies."""
        tags: dict[str, DelegationSpec] = {}
        self._tag(exported_program.graph_module, exported_program, tags)
        return PartitionResult(tagged_exported_program=exported_program, partition_tags=tags)

    def _tag(
        self, module: GraphModule, program: ExportedProgram, tags: dict[str, DelegationSpec]
    ) -> None:
        supported = {node for node in module.graph.nodes if self._runs(node, program)}
        for segment in _segments_between_loops(module):
            wanted = _Chosen(supported & segment)
            if not wanted.nodes:
                continue
            for part in generate_partitions_from_list_of_nodes(module, op_support=wanted):
                tag = f"delegate_{len(tags)}"
                tags[tag] = self.delegation_spec
                for node in part.nodes:
                    node.meta["delegation_tag"] = tag
        for _, body, _ in get_control_flow_submodules(module):
            self._tag(body, program, tags)

    def _runs(self, node: Node, program: ExportedProgram) -> bool:
        if node.op != "call_function" or not hasattr(node.target, "__name__"):
            return False
        name = format_target_name(node.target.__name__)
        config = self.target_partitioner_configs.get(name)
        if config is None or name in LEFT_TO_THE_PLANNER or _is_flat_output(node):
            return False
        if any(_dimensions(a) == 0 for a in (node, *node.all_input_nodes)):
            return False
        if _dimensions(node) > MAX_DIMENSIONS or len(node.all_input_nodes) > MAX_INPUTS:
            return False
        if name in PRODUCTS:
            return bool(config.check_common_constraints(node, program))
        return bool(config.check_constraints(node, program))


class _Chosen(OperatorSupportBase):
    def __init__(self, nodes: set[Node]) -> None:
        self.nodes = nodes

    def is_node_supported(self, submodules: object, node: Node) -> bool:
        return node in self.nodes


def is_loop(node: Node) -> bool:
    """Whether a node is a scan."""
    return node.op == "call_function" and node.target is torch.ops.higher_order.scan


def _segments_between_loops(module: GraphModule) -> list[set[Node]]:
    segments: list[set[Node]] = [set()]
    for node in module.graph.nodes:
        segments[-1].add(node)
        if is_loop(node):
            segments.append(set())
    return segments


def _dimensions(node: Node) -> int:
    """Rank of a node's tensor; 1 for anything else, so that it never decides."""
    value = node.meta.get("val")
    return value.dim() if isinstance(value, torch.Tensor) else 1


def _is_flat_output(node: Node) -> bool:
    """The concatenation that is the flat gradient, which the planner removes."""
    return (
        "aten.cat" in str(node.target)
        and _dimensions(node) == 1
        and any(user.op == "output" for user in node.users)
    )

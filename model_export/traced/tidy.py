"""Exact simplification of a traced graph, and the forms that lowering wants.

Every rule keeps each value as it is: views are merged, transpositions composed, what depends on no
input is computed now, equal nodes are shared, what does nothing goes.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node

from fedvoice.model_export.traced.forms import basic

aten = torch.ops.aten

VIEWS = {
    aten.view.default,
    aten._unsafe_view.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.squeeze.default,
}
NOTHING = {
    aten.detach.default,
    aten.alias.default,
    aten.clone.default,
    aten.lift_fresh_copy.default,
}
TURNS = {
    aten.t.default,
    aten.transpose.int,
    aten.permute.default,
    aten.permute_copy.default,
}
ARITHMETIC = {
    getattr(getattr(aten, name), overload): getattr(aten, name).Tensor
    for name in ("add", "sub", "mul", "div")
    for overload in ("Tensor", "Scalar")
}
BROADCASTS = {
    *ARITHMETIC,
    aten.maximum.default,
    aten.minimum.default,
    aten.where.self,
    aten.eq.Tensor,
    aten.ge.Tensor,
}
GATHERED_ANEW = {
    aten.cat.default,
    aten.slice.Tensor,
    aten.constant_pad_nd.default,
    aten.permute_copy.default,
}
"""Not shared when large: what backward gathers again would else stay in memory since forward."""
LARGE = 4096
MOST_FOLDED = 1 << 20
"""Elements of a constant that is computed at export; int8 weights stay what they are."""


def tidy(module: GraphModule) -> None:
    """Simplify a traced graph in place; its outputs stay as they are, to the bit."""
    graph = module.graph
    _constants_as_buffers(module)
    _fold_constants(module)
    for _ in range(3):
        for node in list(graph.nodes):
            if node.op == "call_function":
                _simplify(graph, node)
        graph.eliminate_dead_code()
        _share_equal(graph)
    for node in list(graph.nodes):
        if node.target is aten.mm.default:
            _as_linear_or_batch(graph, node)
    _copy_out_of_loops(graph)
    _whole(graph)
    graph.eliminate_dead_code()
    _lift_numbers(module)
    module.recompile()


def shape_of(node: Node) -> list[int]:
    """Of a node's tensor."""
    return list(node.meta["val"].shape)


def insert(graph: Graph, before: Node, target: OpOverload, args: tuple[Any, ...], val: Any) -> Node:
    """A new call before a node."""
    with graph.inserting_before(before):
        made = graph.call_function(target, args)
    made.meta["val"] = val
    return made


def _replace(graph: Graph, node: Node, target: OpOverload, args: tuple[Any, ...]) -> None:
    node.replace_all_uses_with(insert(graph, node, target, args, node.meta["val"]))
    graph.erase_node(node)


def _drop(graph: Graph, node: Node, instead: Node) -> None:
    node.replace_all_uses_with(instead)
    graph.erase_node(node)


def _simplify(graph: Graph, node: Node) -> None:
    value = node.meta.get("val")
    source = node.args[0] if node.args else None
    if not isinstance(value, Tensor) or not isinstance(source, Node):
        return
    given = source.meta.get("val")
    if not isinstance(given, Tensor):
        return
    target = node.target
    same_shape = given.shape == value.shape
    is_cast_to_itself = target is aten._to_copy.default and given.dtype == value.dtype
    is_expand = target is aten.expand.default
    if target in NOTHING or is_cast_to_itself or (is_expand and same_shape):
        _drop(graph, node, source)
    elif target in VIEWS or (is_expand and given.numel() == value.numel()):
        _merge_views(graph, node, source)
    elif target in TURNS:
        _compose_turns(graph, node, source)
    elif is_expand and _is_broadcast_anyway(node):
        _drop_expansion(graph, node, source)


def _merge_views(graph: Graph, node: Node, source: Node) -> None:
    root = source
    while root.target in VIEWS:
        root = root.args[0]  # type: ignore[assignment]
    if shape_of(root) == shape_of(node):
        _drop(graph, node, root)
    elif node.target is not aten.view.default or root is not source:
        _replace(graph, node, aten.view.default, (root, shape_of(node)))


def _compose_turns(graph: Graph, node: Node, source: Node) -> None:
    rank = len(shape_of(source))
    dims = _dims_of(node, rank)
    root = source
    if root.target is aten.permute_copy.default:
        inner: Any = root.args[1]
        dims = [inner[d] for d in dims]
        root = root.args[0]  # type: ignore[assignment]
    moved = [d for d in dims if shape_of(root)[d] != 1]
    if moved == sorted(moved):
        _replace(graph, node, aten.view.default, (root, shape_of(node)))
    elif node.target is not aten.permute_copy.default or root is not source:
        _replace(graph, node, aten.permute_copy.default, (root, dims))


def _dims_of(node: Node, rank: int) -> list[int]:
    """The order of axes that a transposition gives."""
    dims = list(range(rank))
    if node.target is aten.t.default:
        return dims[::-1]
    if node.target is aten.transpose.int:
        first, second = (int(d) for d in node.args[1:3])  # type: ignore[arg-type]
        dims[first], dims[second] = dims[second], dims[first]
        return dims
    order: Any = node.args[1]
    return [d % rank for d in order]


def _is_broadcast_anyway(node: Node) -> bool:
    """Whether every reader of an expansion would expand its source by itself."""
    for user in node.users:
        if user.target not in BROADCASTS:
            return False
        operands = [node.args[0] if a is node else a for a in user.all_input_nodes]
        shapes = [a.meta["val"].shape for a in operands]  # type: ignore[union-attr]
        wide = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
        if shape_of(user) != list(wide):
            return False
    return True


def _drop_expansion(graph: Graph, node: Node, source: Node) -> None:
    given = source.meta["val"]
    wide = [1] * (node.meta["val"].dim() - given.dim()) + list(given.shape)
    if len(wide) > given.dim():
        # With its own shape: a later view is merged by it.
        source = insert(graph, node, aten.view.default, (source, wide), given.reshape(wide))
    _drop(graph, node, source)


def _share_equal(graph: Graph) -> None:
    seen: dict[tuple[Any, str, str], Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or not isinstance(node.target, OpOverload):
            continue
        if node.target in GATHERED_ANEW and node.meta["val"].numel() > LARGE:
            continue
        first = seen.setdefault((node.target, repr(node.args), repr(node.kwargs)), node)
        if first is not node:
            _drop(graph, node, first)


def _fold_constants(module: GraphModule) -> None:
    """Compute what depends on no input: position tables, masks, windows."""
    graph = module.graph
    known: dict[Node, Any] = {}
    for node in graph.nodes:
        if node.op == "get_attr" and isinstance(getattr(module, str(node.target), None), Tensor):
            known[node] = getattr(module, str(node.target))
        elif isinstance(node.target, OpOverload) and all(a in known for a in node.all_input_nodes):
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), known.__getitem__)
            value = node.target(*args, **kwargs)
            small = isinstance(value, Tensor) and value.numel() <= MOST_FOLDED
            if small and not any(_widens(known[a], value) for a in node.all_input_nodes):
                known[node] = value
    for node, value in known.items():
        if node.op == "call_function" and any(user not in known for user in node.users):
            constant = _constant(module, node, value.detach().contiguous().clone())
            node.replace_all_uses_with(constant)
    graph.eliminate_dead_code()


def _widens(stored: Tensor, value: Tensor) -> bool:
    """Whether weights that were quantised to a byte would be stored as whole numbers again."""
    return stored.dtype in (torch.int8, torch.uint8) and value.element_size() > 1


def _constants_as_buffers(module: GraphModule) -> None:
    """`torch.export` loses plain attributes of an inner module."""
    for node in module.graph.nodes:
        name = str(node.target)
        value = getattr(module, name, None) if node.op == "get_attr" else None
        if isinstance(value, Tensor) and name not in dict(module.named_buffers()):
            delattr(module, name)
            module.register_buffer(name, value.detach())


def _constant(module: GraphModule, before: Node, value: Tensor) -> Node:
    name = f"constant_{len(dict(module.named_buffers()))}"
    module.register_buffer(name, value)
    with module.graph.inserting_before(before):
        node = module.graph.get_attr(name)
    node.meta["val"] = value
    return node


def _as_linear_or_batch(graph: Graph, node: Node) -> None:
    """a w^T as linear; any other product as a batch of one, in which nothing is transposed."""
    a, b = node.args[:2]
    assert isinstance(a, Node)
    assert isinstance(b, Node)
    if b.target is aten.permute_copy.default:
        _replace(graph, node, aten.linear.default, (a, b.args[0]))
        return
    stacked = tuple(
        insert(
            graph,
            node,
            aten.view.default,
            (factor, [1, *shape_of(factor)]),
            factor.meta["val"].unsqueeze(0),
        )
        for factor in (a, b)
    )
    product = insert(graph, node, aten.bmm.default, stacked, node.meta["val"].unsqueeze(0))
    _replace(graph, node, aten.view.default, (product, shape_of(node)))


WHOLE = {
    basic.LINEAR: aten.linear.default,
    aten.slice.Tensor: aten.slice_copy.Tensor,
    aten.select.int: aten.select_copy.int,
    aten.expand.default: aten.expand_copy.default,
}


def _copy_out_of_loops(graph: Graph) -> None:
    """A view of what a loop stacked (batches of one row have such) fails in lowering."""
    for node in list(graph.nodes):
        source = node.args[0] if node.target in VIEWS else None
        if not isinstance(source, Node) or source.target is not operator.getitem:
            continue
        if getattr(source.args[0], "target", None) is torch.ops.higher_order.scan:
            copied = insert(graph, node, aten.mul.Scalar, (source, 1), source.meta["val"])
            node.replace_input_with(source, copied)


def _whole(graph: Graph) -> None:
    """A view of a slice fails in export: let slices be copies."""
    for node in graph.nodes:
        if node.op == "call_function":
            node.target = WHOLE.get(node.target, node.target)


def _lift_numbers(module: GraphModule) -> None:
    """A number in arithmetic becomes a tensor [1]: the delegate takes that, and no 0-d tensor."""
    known: dict[float, Node] = {}
    first = next(iter(module.graph.nodes))
    for node in module.graph.nodes:
        value = node.meta.get("val")
        is_float = isinstance(value, Tensor) and value.dtype == torch.float32 and value.dim() > 0
        if node.target not in ARITHMETIC or not is_float or node.kwargs:
            continue
        for i, argument in enumerate(node.args[:2]):
            if isinstance(argument, int | float):
                number = float(argument)
                if number not in known:
                    known[number] = _constant(module, first, torch.tensor([number]))
                node.update_arg(i, known[number])
                node.target = ARITHMETIC[node.target]


def own_pieces(module: GraphModule, flat: Node) -> None:
    """Make every piece of a flat gradient a computed tensor of its own, as the planner asks."""
    if flat.target is not aten.cat.default:
        return
    graph, seen, pieces = module.graph, set(), []
    given: Any = flat.args[0]
    for piece in given:
        root = piece
        while root.target is aten.view.default:
            root = root.args[0]
        shared = root in seen or root.op != "call_function" or root.target is operator.getitem
        if shared:
            one = _constant(module, next(iter(graph.nodes)), torch.ones(1))
            args = (piece, one)
            piece = root = insert(graph, flat, aten.mul.Tensor, args, piece.meta["val"])
        seen.add(root)
        pieces.append(piece)
    flat.args = (pieces, *flat.args[1:])
    module.recompile()

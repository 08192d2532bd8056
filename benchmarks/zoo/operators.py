"""Operators that programs of the zoo need, written out so that another one is seen.

The benchmark names what is not here; a test looks for each in the oldest binary of phones.
"""

from __future__ import annotations

OPERATORS = frozenset(
    {
        "XnnpackBackend",
        "aten::_log_softmax.out",
        "aten::add.out",
        "aten::argmax.out",
        "aten::bitwise_and.Tensor_out",
        "aten::cat.out",
        "aten::clamp.out",
        "aten::constant_pad_nd.out",
        "aten::copy_",
        "aten::cumsum.out",
        "aten::div.out_mode",
        "aten::eq.Scalar_out",
        "aten::eq.Tensor_out",
        "aten::expand_copy.out",
        "aten::flip.out",
        "aten::full_like.out",
        "aten::gather.out",
        "aten::ge.Scalar_out",
        "aten::ge.Tensor_out",
        "aten::gt.Scalar_out",
        "aten::index.Tensor_out",
        "aten::index_put.out",
        "aten::index_select.out",
        "aten::le.Tensor_out",
        "aten::lt.Tensor_out",
        "aten::max.unary_out",
        "aten::maximum.out",
        "aten::mul.out",
        "aten::ne.Scalar_out",
        "aten::ne.Tensor_out",
        "aten::permute_copy.out",
        "aten::pow.Tensor_Scalar_out",
        "aten::scatter.value_out",
        "aten::select_copy.int_out",
        "aten::slice_copy.Tensor_out",
        "aten::sub.out",
        "aten::sum.IntList_out",
        "aten::sym_size.int",
        "aten::view_copy.out",
        "aten::where.self_out",
        "dim_order_ops::_clone_dim_order.out",
        "dim_order_ops::_to_dim_order_copy.out",
        "executorch_prim::add.Scalar",
        "executorch_prim::eq.Scalar",
        "executorch_prim::et_copy_index.tensor",
        "executorch_prim::et_view.default",
        "executorch_prim::floordiv.Scalar",
        "executorch_prim::mul.Scalar",
        "executorch_prim::sub.Scalar",
    }
)
"""Operators and delegates of all models' programs."""

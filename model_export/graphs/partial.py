"""Steps and decoders of which only a part trains: the hand-written graphs over fewer parameters.

What a frozen parameter's gradient alone needs is dead code, which tracing removes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.graphs.decode import DecodeGraph
from fedvoice.model_export.graphs.low_rank import Factors, LowRank, factoring
from fedvoice.model_export.graphs.ops import linear, permute, product
from fedvoice.model_export.graphs.step import StepGraph
from fedvoice.model_export.models.partial import PartialModel
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.partial import ADAPTER_A, ADAPTER_B


class _Effective(Mapping[str, Tensor]):
    """The whole model's parameters. Adapted and int8 ones are computed at each look-up: none lies
    in memory from the forward pass to the backward pass."""

    def __init__(self, model: PartialModel, trained: Mapping[str, Tensor], known: Factors) -> None:
        self._model, self._trained, self._known = model, trained, known

    def __getitem__(self, name: str) -> Tensor:
        whole = self._model.effective(self._trained, name)
        adapters = self._model.partial.adapters
        if adapters is None or name not in self._model.parts.adapted:
            return whole
        a, b = self._trained[f"{name}{ADAPTER_A}"], self._trained[f"{name}{ADAPTER_B}"]
        base = self._model.frozen.value(name)
        return self._known.note_sum(whole, LowRank(base, a * adapters.scale, b))

    def __iter__(self) -> Iterator[str]:
        return iter((*self._model.parts.trained, *self._model.parts.frozen))

    def __len__(self) -> int:
        return len(self._model.parts.trained) + len(self._model.parts.frozen)


class PartialStep(StepGraph):
    """`whole` with gradients of what trains."""

    def __init__(self, whole: StepGraph, model: PartialModel, table: ParameterTable) -> None:
        super().__init__(table)
        # The model in a tuple: its eager tensors are no part of the program, what it froze is.
        self.whole, self.frozen, self._model = whole, model.frozen, (model,)

    def gradients(
        self, parameters: Mapping[str, Tensor], batch: TensorBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `StepGraph`."""
        (model,) = self._model
        with factoring() as known:
            effective = _Effective(model, parameters, known)
            nll, whole = self.whole.gradients(effective, batch)
        gradients = {name: whole[name] for name in model.parts.trained}
        scale = model.partial.adapters.scale if model.partial.adapters else 1.0
        for name in model.parts.adapted:
            a, b = parameters[f"{name}{ADAPTER_A}"], parameters[f"{name}{ADAPTER_B}"]
            outer = known.outer_of(whole[name])
            if outer is None:
                by_product = whole[name] * scale
                by_a = product(permute(b, 1, 0), by_product)
                by_b = product(by_product, permute(a, 1, 0))
            else:
                by_a = linear(product(permute(b, 1, 0), outer.left) * scale, outer.right)
                by_b = linear(outer.left, product(a, outer.right) * scale)
            gradients |= {f"{name}{ADAPTER_A}": by_a, f"{name}{ADAPTER_B}": by_b}
        return nll, gradients


class PartialDecode(DecodeGraph):
    """`whole` over what trains."""

    def __init__(self, whole: DecodeGraph, model: PartialModel, table: ParameterTable) -> None:
        super().__init__(table, whole.frames, whole.batch)
        self.whole, self.frozen, self._model = whole, model.frozen, (model,)

    def tokens(self, parameters: Mapping[str, Tensor], x: Tensor, x_lens: Tensor) -> Tensor:
        """See `DecodeGraph`."""
        with factoring() as known:
            return self.whole.tokens(_Effective(self._model[0], parameters, known), x, x_lens)

"""Any model of which only a part trains, eagerly: frozen parameters and low-rank adapters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.models.greedy import Hypothesis
from fedvoice.protocol.partial import ADAPTER_A, ADAPTER_B, PartialTraining, divide
from fedvoice.protocol.task import Bucket

INT8_LEVELS = 127
INT8_SCALE = ".int8_scale"
"""What the scales of an int8 matrix are called after its name, in a file."""


class PartialModel(TaskModel):
    """A model whose parameters are what trains of `base`, and adapters.

    Frozen tensors are `base`'s own. With int8 they hold what the phone's integers stand for, so
    that every engine computes with the same values.

    Attributes:
        parts: which parameter of `base` became what.
        frozen: values of the frozen ones, by `base`'s names.

    Raises:
        FedvoiceError: `bad-config`, see `divide`.
    """

    def __init__(self, base: TaskModel, partial: PartialTraining, where: str) -> None:
        super().__init__(base.vocabulary_size)
        self.base, self.partial = base, partial
        self.checked_by_rows = base.checked_by_rows
        parameters = dict(base.named_parameters())
        self.parts = divide(partial, {n: tuple(p.shape) for n, p in parameters.items()}, where)
        self._real = {n: base.real_name(n) for n in parameters}
        self.adapters = nn.ParameterList()
        if partial.adapters is not None:
            rank = partial.adapters.rank
            for name in self.parts.adapted:
                rows, columns = parameters[name].shape
                self.adapters.append(torch.randn(rank, columns) / math.sqrt(columns))
                self.adapters.append(torch.zeros(rows, rank))
        self.frozen = FrozenTensors(self.parts.frozen)
        for name in self.parts.frozen:
            parameters[name].requires_grad_(False)
        self.freeze()

    def freeze(self) -> None:
        """Keep the values that the frozen parameters of `base` have now."""
        for name in self.parts.frozen:
            value = self.base.get_parameter(self._real[name]).detach()
            as_int8 = self.partial.int8 and value.dim() == 2
            self._hold(name, *(quantised(value) if as_int8 else (value.clone(), None)))

    def _hold(self, name: str, value: Tensor, scale: Tensor | None) -> None:
        self.frozen.put(name, value, scale)
        self.base.get_parameter(self._real[name]).data.copy_(self.frozen.value(name))

    def nll(self, batch: TensorBatch) -> Tensor:
        """See `TaskModel`."""
        found: Tensor = self._call(lambda base: base.nll(batch))
        return found

    @torch.no_grad()
    def greedy(self, x: Tensor, x_lens: Tensor) -> list[Hypothesis]:
        """See `TaskModel`."""
        found: list[Hypothesis] = self._call(lambda base: base.greedy(x, x_lens))
        return found

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """What trains: of `base` by its own names, then A and B of each adapter."""
        for name in self.parts.trained:
            yield name, self.base.get_parameter(self._real[name])
        for place, name in enumerate(self.parts.adapted):
            yield f"{name}{ADAPTER_A}", self.adapters[2 * place]
            yield f"{name}{ADAPTER_B}", self.adapters[2 * place + 1]

    def effective(self, trained: Mapping[str, Tensor], name: str) -> Tensor:
        """The tensor that stands for a parameter of `base`, given what trains by name.

        Made anew at each call: in a graph nothing of it has to lie in memory between two uses.
        """
        if name in trained:
            return trained[name]
        if name not in self.parts.adapted:
            return self.frozen.value(name)
        assert self.partial.adapters is not None
        product = trained[f"{name}{ADAPTER_B}"].mm(trained[f"{name}{ADAPTER_A}"])
        return self.frozen.value(name) + product * self.partial.adapters.scale

    def whole(self, trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All tensors of `base` that are not its own: what trains, adapted and int8 ones."""
        made = {n for n in self.parts.frozen if self.frozen.kept(n)[1] is not None}
        made |= {*self.parts.trained, *self.parts.adapted}
        return {name: self.effective(trained, name) for name in self._real if name in made}

    def merged(self) -> dict[str, Tensor]:
        """`base`'s parameters with the adapters added to them, by its own names."""
        trained = {name: p.detach() for name, p in self.named_parameters()}
        return {name: self.effective(trained, name).clone() for name in self._real}

    def fixed(self) -> dict[str, Tensor]:
        """See `TaskModel`: as a file keeps them, a scale as `<name>.int8_scale`."""
        kept = {n: t for n, t in self.base.fixed().items() if n not in self.parts.frozen}
        for name in self.parts.frozen:
            value, scale = self.frozen.kept(name)
            kept[name] = value
            if scale is not None:
                kept[f"{name}{INT8_SCALE}"] = scale
        return kept

    def seedable(self) -> dict[str, Tensor]:
        """See `TaskModel`: a whole model's."""
        return self.base.seedable()

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """See `TaskModel`."""
        self.base.take(tensors)
        self.freeze()

    def fix(self, tensors: Mapping[str, Tensor]) -> None:
        """See `TaskModel`."""
        self.base.fix({n: t for n, t in tensors.items() if n not in self.parts.frozen})
        for name in self.parts.frozen:
            self._hold(name, tensors[name], tensors.get(f"{name}{INT8_SCALE}"))

    def most_labels(self, x_lens: Tensor) -> Tensor:
        """See `TaskModel`."""
        return self.base.most_labels(x_lens)

    def random_inputs(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """See `TaskModel`."""
        return self.base.random_inputs(shape, generator)

    def draws(self, bucket: Bucket) -> int:
        """See `TaskModel`."""
        return self.base.draws(bucket)

    def drawing(self, bucket: Bucket, draws: Tensor) -> AbstractContextManager[object]:
        """See `TaskModel`."""
        return self.base.drawing(bucket, draws)

    @torch.no_grad()
    def make_checkable(self) -> None:
        """See `TaskModel`: B is 0 at first, so A would have no gradient."""
        for place in range(len(self.parts.adapted)):
            up = self.adapters[2 * place + 1]
            generator = torch.Generator().manual_seed(place)
            up.copy_(0.1 * torch.randn(up.shape, generator=generator))

    def make_restless(self) -> None:
        """See `TaskModel`: by what trains; the program holds the rest."""
        for name, parameter in self.named_parameters():
            if name.startswith(("joint_", "output.")):
                parameter.mul_(6.0)

    def _call(self, use: Callable[[Any], Any]) -> Any:
        if not self.parts.adapted:
            return use(self.base)
        trained = dict(self.named_parameters())
        named = {
            f"base.{self._real[name]}": self.effective(trained, name) for name in self.parts.adapted
        }
        return functional_call(_Using(self.base, use), named, ())


class _Using(nn.Module):
    """Any use of a model as a forward, which is what `functional_call` calls."""

    def __init__(self, base: TaskModel, use: Callable[[Any], Any]) -> None:
        super().__init__()
        self.base, self._use = base, use

    def forward(self) -> Any:
        """What `use` gives."""
        return self._use(self.base)


class FrozenTensors(nn.Module):
    """Tensors by any names, as a phone keeps them: float32, or int8 [M, N] and scales [M, 1]."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._places = {name: place for place, name in enumerate(names)}

    def put(self, name: str, value: Tensor, scale: Tensor | None) -> None:
        """Keep a tensor."""
        self.register_buffer(f"value_{self._places[name]}", value)
        self.register_buffer(f"scale_{self._places[name]}", scale)

    def kept(self, name: str) -> tuple[Tensor, Tensor | None]:
        """What is kept: the tensor, and scales if it is int8."""
        place = self._places[name]
        return getattr(self, f"value_{place}"), getattr(self, f"scale_{place}")

    def value(self, name: str) -> Tensor:
        """The tensor as floats."""
        value, scale = self.kept(name)
        return value if scale is None else value.to(scale.dtype) * scale


def quantised(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """[M, N] float32 -> int8 [M, N] and scales float32 [M, 1], symmetric, nearest value a row."""
    scale = (matrix.abs().amax(1, keepdim=True) / INT8_LEVELS).clamp(min=1e-12)
    return torch.round(matrix / scale).to(torch.int8), scale

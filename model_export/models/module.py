"""User-defined `nn.Module`s as models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.kinds import MODEL_KINDS
from fedvoice.model_export.kinds.base import not_exportable
from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.models.greedy import Hypothesis
from fedvoice.protocol.errors import ErrorCode, FedvoiceError


class ModuleModel(TaskModel):
    """A module, and functions for its loss and its tokens.

    Its parameters are the module's that take gradients, by the module's own names. Buffers and
    parameters without gradients are not part of the flat vector: every process builds them by
    `make` from seed 0, and a loss may not change them.
    """

    def __init__(
        self,
        kind: str,
        make: Callable[[], nn.Module],
        loss: Callable[[Any, TensorBatch], Tensor] | None,
        decode: Callable[[Any, TensorBatch], list[list[int]]] | None,
        vocabulary_size: int,
    ) -> None:
        super().__init__(vocabulary_size)
        self.kind = kind
        with MODEL_KINDS.naming(kind):
            self.module = make()
        own = type(self.module)
        self._decode = decode or getattr(own, "decode", None)
        self._checked = False
        given = loss or getattr(own, "loss", None)
        if given is None:
            raise self._refused("a module without `loss`", "loss(batch) -> [B], or loss=")
        self._loss = given
        if self._fixed():
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                torch.manual_seed(0)
                reference = make()
                for name, tensor in self._fixed().items():
                    tensor.copy_(_tensor_of(reference, name))
        if not list(self.named_parameters()):
            raise self._refused("no parameter that takes a gradient", "one at least")

    def forward(self, batch: TensorBatch) -> Tensor:
        """The loss of each row [B]."""
        with MODEL_KINDS.naming(self.kind):
            loss: Tensor = self._loss(self.module, batch)
        rows = len(batch.features)
        if loss.shape != (rows,):
            raise self._refused(
                f"a loss of shape {list(loss.shape)} for {rows} rows", f"one a row: [{rows}]"
            )
        return loss

    def nll(self, batch: TensorBatch) -> Tensor:
        """See `TaskModel`. The first call checks that the loss is deterministic and has no effects.

        Raises:
            FedvoiceError: `bad-config` for a loss that is not, or has another shape.
        """
        if self._checked:
            found: Tensor = self(batch)
            return found
        random = torch.get_rng_state()
        before = {name: tensor.clone() for name, tensor in self._fixed().items()}
        found = self(batch)
        if not torch.equal(random, torch.get_rng_state()):
            raise self._refused(
                "a loss that draws random numbers (dropout?)",
                "a function of weights and batch alone, so that a round can be repeated",
            )
        for name, tensor in self._fixed().items():
            if not torch.equal(before[name], tensor):
                raise self._refused(
                    f"a loss that changes {name} (batch norm?)",
                    "a loss without side effects: only parameters travel to the server",
                )
        self._checked = True
        return found

    @torch.no_grad()
    def greedy(self, x: Tensor, x_lens: Tensor) -> list[Hypothesis]:
        """See `TaskModel`.

        Raises:
            FedvoiceError: `bad-config` for a module that cannot decode.
        """
        if self._decode is None:
            raise self._refused("an evaluation, but no `decode`", "token ids of every row")
        with MODEL_KINDS.naming(self.kind):
            tokens = self._decode(self.module, TensorBatch.to_transcribe(x, x_lens))
        return [Hypothesis([int(token) for token in row], float("inf")) for row in tokens]

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """The module's own that take gradients, without this wrapper's name before them."""
        for name, parameter in self.module.named_parameters(*args, **kwargs):
            if parameter.requires_grad:
                yield name, parameter

    def make_restless(self) -> None:
        """Not supported: for programs only."""
        not_exportable(self.kind)

    def _fixed(self) -> dict[str, Tensor]:
        """Buffers, and parameters that take no gradient."""
        frozen = {n: p for n, p in self.module.named_parameters() if not p.requires_grad}
        return {**dict(self.module.named_buffers()), **frozen}

    def _refused(self, got: str, wanted: str) -> FedvoiceError:
        return FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=f"model kind {self.kind}",
            got=got,
            wanted=wanted,
            next_step="Change the module; `.eval()` in its factory stops dropout and batch norm.",
        )


def _tensor_of(module: nn.Module, name: str) -> Tensor:
    path, _, last = name.rpartition(".")
    found: Tensor = getattr(module.get_submodule(path), last)
    return found

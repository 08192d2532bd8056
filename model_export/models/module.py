"""User-defined `nn.Module`s as models."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.kinds import MODEL_KINDS
from fedvoice.model_export.kinds.module import Predicts
from fedvoice.model_export.kinds.named import (
    INPUTS,
    WITHOUT_TARGETS,
    check_named,
    named_arguments,
    takes_batch,
)
from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.models.greedy import Hypothesis, greedy_ctc, margins
from fedvoice.model_export.traced import rewrites as rewrites
from fedvoice.model_export.traced.draws import count_draws, split_draws
from fedvoice.model_export.traced.precision import SingleWhereItMust
from fedvoice.model_export.traced.rewriting import Drawn, Rewriting
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import Bucket


class ModuleModel(TaskModel):
    """A module, and functions for its loss and its tokens.

    Its program is compared with the module on the same batch: some read the longest row's length,
    or normalise over a batch's padding.

    Its parameters are the module's that take gradients, by the module's own names. Buffers and
    parameters without gradients are not part of the flat vector: every process builds them by
    `make` from seed 0, and a loss may not change them.
    """

    checked_by_rows = False

    def __init__(
        self,
        kind: str,
        make: Callable[[], nn.Module],
        loss: Callable[[Any, TensorBatch], Tensor] | None,
        decode: Callable[[Any, TensorBatch], list[list[int]]] | None,
        vocabulary_size: int,
        input_size: int,
    ) -> None:
        super().__init__(vocabulary_size)
        self.kind = kind
        self.input_size = input_size
        with MODEL_KINDS.naming(kind):
            self.module = make()
        _freeze_statistics(self.module)
        own = type(self.module)
        self._decode = decode or getattr(own, "decode", None)
        self._checked = False
        self._drawn_of: dict[tuple[int, int, int], tuple[Drawn, ...]] = {}
        self._loss = loss or getattr(own, "loss", None) or self._named_loss()
        self._predict = getattr(own, "predict", None)
        self.predicts = self._metric()
        if self.fixed():
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                torch.manual_seed(0)
                reference = make()
                for name, tensor in self.fixed().items():
                    tensor.copy_(_tensor_of(reference, name))
        if not list(self.named_parameters()):
            raise self._refused("no parameter that takes a gradient", "one at least")

    def forward(self, batch: TensorBatch) -> Tensor:
        """The loss of each row [B]."""
        loss = self.losses(self.module, batch)
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
        states = _random_states()
        before = {name: tensor.clone() for name, tensor in self.fixed().items()}
        found = self(batch)
        if states != _random_states():
            raise self._refused(
                "a loss that draws random numbers by itself",
                "random numbers that the host draws (torch.rand, torch.nn.functional.dropout and "
                "what is made of them, not Python's or NumPy's), so that a round can be repeated",
            )
        for name, tensor in self.fixed().items():
            if not torch.equal(before[name], tensor):
                raise self._refused(
                    f"a loss that changes {name}",
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
        batch = TensorBatch.to_transcribe(x, x_lens)
        if self.predicts is not None:
            return greedy_of(self.predicts, *self.predictions(self.module, batch))
        if self._decode is None:
            raise self._refused("an evaluation, but no `predict`", "logits, or `decode`")
        with MODEL_KINDS.naming(self.kind), _evaluating(self.module):
            tokens = self._decode(self.module, batch)
        return [Hypothesis([int(token) for token in row], float("inf")) for row in tokens]

    def draws(self, bucket: Bucket) -> int:
        """See `TaskModel`."""
        return count_draws(self._drawn(bucket))

    def drawing(self, bucket: Bucket, draws: Tensor) -> AbstractContextManager[object]:
        """See `TaskModel`."""
        drawn = self._drawn(bucket)
        return Rewriting(split_draws(drawn, draws), draws_only=True) if drawn else nullcontext()

    def full_batch(self, bucket: Bucket) -> TensorBatch:
        """Rows as long as a bucket: numbers that Python reads from them are then its sizes."""
        generator = torch.Generator().manual_seed(0)
        rows, labels = bucket.batch, bucket.labels
        shape = (rows, bucket.frames, self.input_size)
        return TensorBatch(
            self.random_inputs(shape, generator),
            torch.randint(1, self.vocabulary_size, (rows, labels), generator=generator),
            torch.full((rows,), bucket.frames),
            torch.full((rows,), labels),
            torch.full((rows,), 1 / rows),
        )

    def _drawn(self, bucket: Bucket) -> tuple[Drawn, ...]:
        """What a loss of a full batch draws."""
        sizes = (bucket.batch, bucket.frames, bucket.labels)
        if sizes not in self._drawn_of:
            batch = self.full_batch(bucket)
            floats = next(self.module.parameters()).dtype  # not float32 where gradients are checked
            batch = batch._replace(features=batch.features.to(floats))
            before = {name: tensor.clone() for name, tensor in self.fixed().items()}
            with torch.no_grad(), SingleWhereItMust(), Rewriting(draws_only=True) as mode:
                self.losses(self.module, batch)
            self.fix(before)  # a loss that changes them is refused, by `nll`
            self._drawn_of[sizes] = tuple(mode.notes.drawn)
        return self._drawn_of[sizes]

    def losses(self, module: Any, batch: TensorBatch) -> Tensor:
        """Loss of each row [B] by `module`, which stands for the model's own."""
        with MODEL_KINDS.naming(self.kind):
            found: Tensor = self._loss(module, batch)
        return found

    def predictions(self, module: Any, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """Logits by `module`, and how many frames of a row count, int64 [B].

        Raises:
            FedvoiceError: `bad-config` for a module without `predict`.
        """
        if self._predict is None:
            raise self._refused("no `predict`", "logits: what a program's decoder is made of")
        with MODEL_KINDS.naming(self.kind), _evaluating(self.module):
            if takes_batch(self._predict):
                found = self._predict(module, batch)
            else:
                found = self._predict(module, **named_arguments(self._predict, batch))
        return found if isinstance(found, tuple) else (found, batch.frame_counts)

    def _named_loss(self) -> Callable[[Any, TensorBatch], Tensor]:
        """By `forward`, which takes what it names."""
        forward = type(self.module).forward
        check_named(forward, f"model kind {self.kind}, forward", tuple(INPUTS))

        def loss(module: Any, batch: TensorBatch) -> Tensor:
            found: Tensor = module(**named_arguments(forward, batch))
            return found

        return loss

    def _metric(self) -> Predicts | None:
        if self._predict is None:
            return None
        if not takes_batch(self._predict):
            where = f"model kind {self.kind}, predict"
            check_named(self._predict, where, WITHOUT_TARGETS)
        try:
            return Predicts(getattr(self.module, "predicts", ""))
        except ValueError:
            names = ", ".join(f'"{name}"' for name in Predicts)
            got = f"predicts = {getattr(self.module, 'predicts', None)!r}"
            raise self._refused(got, f"one of {names}: what `predict` returns") from None

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """The module's own that take gradients, without this wrapper's name before them."""
        for name, parameter in self.module.named_parameters(*args, **kwargs):
            if parameter.requires_grad:
                yield name, parameter

    def make_restless(self) -> None:
        """Nothing: fresh logits of a module emit tokens as they come."""

    def real_name(self, name: str) -> str:
        """See `TaskModel`."""
        return f"module.{name}"

    def seedable(self) -> dict[str, Tensor]:
        """See `TaskModel`: the module's parameters, and buffers of its state dict."""
        kept = set(self.module.state_dict())
        buffers = {n: b for n, b in self.module.named_buffers() if n in kept}
        return {**dict(self.module.named_parameters()), **buffers}

    def fix(self, tensors: Mapping[str, Tensor]) -> None:
        """See `TaskModel`."""
        with torch.no_grad():
            for name, tensor in self.fixed().items():
                if name in tensors:
                    tensor.copy_(tensors[name])

    def fixed(self) -> dict[str, Tensor]:
        """See `TaskModel`: buffers, and parameters that take no gradient."""
        frozen = {n: p for n, p in self.module.named_parameters() if not p.requires_grad}
        return {**dict(self.module.named_buffers()), **frozen}

    def _refused(self, got: str, wanted: str) -> FedvoiceError:
        return FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=f"model kind {self.kind}",
            got=got,
            wanted=wanted,
            next_step="Change the module; `.eval()` in its factory stops dropout, "
            "which central training does not draw.",
        )


def _random_states() -> tuple[object, ...]:
    """Of torch's, Python's and NumPy's generators."""
    numpys = pickle.dumps(np.random.get_state())
    return torch.get_rng_state().tolist(), random.getstate(), numpys


def _freeze_statistics(module: nn.Module) -> None:
    """Batch norm normalises by the statistics that it has: phones' own would be no parameters, so
    they would reach no server, and a batch of a phone's is too small to take them from."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """In evaluation mode, without dropout."""
    trained = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in trained:
            part.training = True


def greedy_of(predicts: Predicts, logits: Tensor, counts: Tensor) -> list[Hypothesis]:
    """Tokens of each row."""
    if predicts is Predicts.CTC:
        return greedy_ctc(logits, counts)
    if predicts is Predicts.LABEL:
        logits, counts = logits[:, None], torch.ones_like(counts)
    best, gaps = logits.argmax(-1), margins(logits)
    rows = zip(best.tolist(), gaps, counts.tolist(), strict=True)
    return [
        Hypothesis([t for t in row[:count] if t], float(gap[:count].min()))
        for row, gap, count in rows
    ]


def _tensor_of(module: nn.Module, name: str) -> Tensor:
    path, _, last = name.rpartition(".")
    found: Tensor = getattr(module.get_submodule(path), last)
    return found

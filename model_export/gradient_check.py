"""Law 8: a lowered program is checked before it is packaged.

Every method is run on the real ExecuTorch runtime and compared with eager PyTorch: gradients
parameter by parameter against autograd through torchaudio's and PyTorch's own losses, tokens
against a greedy loop on the host, features against torchaudio. Each method is called several
times with different data, since some faults of lowering show only from the second call on.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import torch
from torch import Tensor

from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.graphs.methods import FEATURES_METHOD
from fedvoice.model_export.kinds import ModelConfig
from fedvoice.model_export.log_mel import reference_features
from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.models.loss import loss_of
from fedvoice.model_export.traced.precision import SingleWhereItMust
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.task import Bucket, FeatureSettings

GRADIENT_TOLERANCE = 2e-4
"""Largest error of a parameter's gradient, relative to that gradient's largest entry."""
ROUNDINGS = 4.0
"""A larger error passes if it is at most so many times PyTorch's own in float32: gradients of which
hardly anything is left (of a scale before a normalisation) keep few digits."""
NOTHING = 1e-10
"""A gradient below this part of the largest of all is rounding, of a parameter that the loss does
not depend on (attention's bias of keys); it is compared with the largest of all."""
LOSS_TOLERANCE = 1e-4
FEATURE_TOLERANCE = 2e-4
"""Largest absolute error of a log-mel value."""
CLEAR_MARGIN = 1e-3
"""Rows whose greedy choice is nearer than this (in logits) may differ by rounding."""


class Runs(Protocol):
    """Something that runs a program's methods (`lowering.runtime.LoadedProgram`)."""

    def run(self, method: str, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        """Outputs of a method."""


@dataclass(frozen=True)
class GradientReport:
    """The worst gradient error of one bucket's step over all calls."""

    bucket: str
    parameter: str
    error: float


@dataclass(frozen=True)
class Checked:
    """Model and sizes that a program was made from.

    model: eager module whose parameters stand in table order and are what the program is given.
    """

    config: ModelConfig
    model: TaskModel
    table: ParameterTable
    features: FeatureSettings

    def parameters(self) -> tuple[Tensor, ...]:
        """The program's parameter inputs."""
        return tuple(p.detach() for p in self.model.parameters())

    @cached_property
    def in_double_precision(self) -> TaskModel:
        """A copy of the model, so that the reference has no rounding errors of its own."""
        return copy.deepcopy(self.model).double()

    def stacked(self, x: Tensor) -> Tensor:
        """[B, T*stack, n_mels] -> [B, T, I]."""
        return x.reshape(x.shape[0], x.shape[1] // self.features.stack, -1)


def check_step(program: Runs, checked: Checked, bucket: Bucket, seed: int = 0) -> GradientReport:
    """Compare a step with autograd on a full ragged batch and then on a partial one.

    Raises:
        FedvoiceError: `gradient-check` naming the parameter.
    """
    worst = GradientReport(bucket.name, "", 0.0)
    for inputs, real_rows in _step_cases(checked, bucket, seed):
        draws = torch.rand(bucket.draws, generator=torch.Generator().manual_seed(seed + real_rows))
        reference_of = partial(_reference, checked, bucket, draws, inputs, real_rows)
        wanted_loss, wanted = reference_of(checked.in_double_precision)
        given = (*checked.parameters(), *inputs, *([draws] if bucket.draws else []))
        loss, flat = program.run(bucket.step_method, given)
        error = abs(float(loss) - wanted_loss) / max(abs(wanted_loss), 1.0)
        check_error(error, LOSS_TOLERANCE, f"{bucket.step_method}, loss")
        largest = max(float(reference.abs().max()) for reference in wanted)
        for index, (spec, reference) in enumerate(
            zip(checked.table.parameters, wanted, strict=True)
        ):
            got = flat[spec.offset : spec.offset + spec.size].view(spec.shape)
            error, limit = _relative_error(got, reference, largest), GRADIENT_TOLERANCE
            if error > limit:
                rounded = reference_of(checked.model)[1][index]
                limit = max(limit, ROUNDINGS * _relative_error(rounded, reference, largest))
            check_error(error, limit, f"{bucket.step_method}, gradient of {spec.name}")
            if error >= worst.error:
                worst = GradientReport(bucket.name, spec.name, error)
        _check_padding(flat, checked.table, bucket.step_method)
    return worst


def check_decode(program: Runs, checked: Checked, bucket: Bucket, seed: int = 0) -> None:
    """Compare greedy tokens with a host loop, token for token.

    Raises:
        FedvoiceError: `gradient-check` with both transcripts.
    """
    restless = _restless_copy(checked)
    for call in range(2):
        inputs = random_batch(checked, bucket, seed + call, bucket.batch)
        tokens, counts = program.run(
            bucket.decode_method, (*restless.parameters(), inputs.features, inputs.frame_counts)
        )
        wanted = restless.model.greedy(restless.stacked(inputs.features), inputs.frame_counts)
        for row, hypothesis in enumerate(wanted):
            got = [int(t) for t in tokens[:, row] if t]
            right = got == hypothesis.tokens and len(got) == int(counts[row])
            if not right and hypothesis.margin > CLEAR_MARGIN:
                raise _failure(
                    f"{bucket.decode_method}, row {row}",
                    f"{int(counts[row])} tokens {got}",
                    f"tokens {hypothesis.tokens}",
                )


def check_features(program: Runs, settings: FeatureSettings, seed: int = 0) -> float:
    """Largest difference to torchaudio in float64 on waveforms of several lengths.

    What float32 can keep of a quiet band beside a loud one depends on how narrow the bands are,
    so torchaudio's own rounding in float32 is the measure.

    Raises:
        FedvoiceError: `gradient-check` if it is above 2e-4 and above four times that rounding.
    """
    worst = 0.0
    most = int(settings.max_secs * settings.sample_rate) // settings.hop_samples
    for frames in sorted({2, min(37, most), min(300, most)}):
        samples = settings.hop_samples * (frames - 1) + settings.fft_size
        waveform = speech_like(samples, settings.sample_rate, seed + frames)
        (got,) = program.run(FEATURES_METHOD, (waveform,))
        exact = reference_features(waveform.double(), settings)
        rounding = float((reference_features(waveform, settings) - exact).abs().max())
        error = float((got - exact).abs().max())
        check_error(
            error, max(FEATURE_TOLERANCE, 4 * rounding), f"{FEATURES_METHOD}, {samples} samples"
        )
        worst = max(worst, error)
    return worst


def speech_like(samples: int, sample_rate: int, seed: int) -> Tensor:
    """A waveform [1, samples] of gliding harmonics and a little noise, within +-1."""
    t = torch.arange(samples) / sample_rate
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    wave = 1e-3 * noise
    for frequency, amplitude in ((140, 0.3), (280, 0.2), (900, 0.1), (2400, 0.03)):
        glide = 1 + 0.05 * torch.sin(3 * t)
        wave = wave + amplitude * torch.sin(2 * torch.pi * frequency * t * glide)
    return (wave * (0.5 + 0.5 * torch.sin(2 * torch.pi * 3 * t)))[None]


def _step_cases(checked: Checked, bucket: Bucket, seed: int) -> Iterator[tuple[TensorBatch, int]]:
    """Batches and how many of their rows are real."""
    for call, real in enumerate((bucket.batch, max(1, bucket.batch // 2))):
        yield random_batch(checked, bucket, seed + call, real), real


def random_batch(checked: Checked, bucket: Bucket, seed: int, real: int) -> TensorBatch:
    """Ragged rows, the first of full length; rows from `real` on are padding of weight 0."""
    g = torch.Generator().manual_seed(seed)
    batch, frames, labels = bucket.batch, bucket.frames, bucket.labels
    shape = (batch, frames * checked.features.stack, checked.features.mel_bins)
    x_lens = torch.randint((frames + 1) // 2, frames + 1, (batch,), generator=g)
    y_lens = torch.randint(0, labels + 1, (batch,), generator=g)
    x_lens[0], y_lens[0] = frames, labels
    y_lens = torch.minimum(y_lens, checked.model.most_labels(x_lens))
    y = torch.randint(1, checked.model.vocabulary_size, (batch, labels), generator=g)
    y = y * (torch.arange(labels) < y_lens[:, None])
    x_lens[real:], y_lens[real:] = 1, 0
    weights = torch.zeros(batch)
    weights[:real] = 1 / real
    return TensorBatch(checked.model.random_inputs(shape, g), y, x_lens, y_lens, weights)


def _reference(
    checked: Checked,
    bucket: Bucket,
    draws: Tensor,
    inputs: TensorBatch,
    real_rows: int,
    model: TaskModel,
) -> tuple[float, tuple[Tensor, ...]]:
    """Loss and gradients in table order from the real rows alone, as if there were no others.

    In the model's precision and row by row, since [T, U+1, V] of a long bucket is large; of a model
    that is not `checked_by_rows`, from the whole batch.
    """
    parameters = tuple(model.parameters())
    dtype = parameters[0].dtype
    total, gradients = 0.0, [torch.zeros_like(parameter) for parameter in parameters]
    whole = slice(len(inputs.features))
    by_rows = [slice(row, row + 1) for row in range(real_rows)]
    with model.drawing(bucket, draws), torch.enable_grad(), SingleWhereItMust():
        for rows in by_rows if model.checked_by_rows else [whole]:
            real = inputs.of(rows)
            real = real._replace(
                features=checked.stacked(real.features).to(dtype),
                example_weights=real.example_weights.to(dtype),
            )
            loss = loss_of(model, real)
            found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            total += loss.item()
            for gradient, more in zip(gradients, found, strict=True):
                gradient += more.detach()
    return total, tuple(gradient.to(torch.float32) for gradient in gradients)


def _restless_copy(checked: Checked) -> Checked:
    """The same model, changed so that it emits tokens occasionally."""
    model = copy.deepcopy(checked.model)
    with torch.no_grad():
        model.make_restless()
    return Checked(checked.config, model, checked.table, checked.features)


def _relative_error(got: Tensor, wanted: Tensor, largest: float) -> float:
    """Largest difference over the largest entry wanted, or over that of all gradients where this
    one is `NOTHING`; NaN counts as infinite."""
    own = float(wanted.abs().max())
    scale = own if own > NOTHING * largest else largest
    error = float((got - wanted).abs().max()) / max(scale, 1e-12)
    return error if error == error else float("inf")


def _check_padding(flat: Tensor, table: ParameterTable, method: str) -> None:
    unused = torch.ones(table.total_size, dtype=torch.bool)
    for spec in table.parameters:
        unused[spec.offset : spec.offset + spec.size] = False
    if flat.shape != unused.shape or bool(flat[unused].any()):
        raise _failure(f"{method}, padding", "values outside all parameters", "zeros")


def check_error(error: float, tolerance: float, where: str) -> None:
    """Raise `gradient-check` for an error above the tolerance."""
    if not error <= tolerance:
        raise _failure(where, f"error {error:.1e}", f"at most {tolerance:.0e}")


def _failure(where: str, got: str, wanted: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.GRADIENT_CHECK,
        where=where,
        got=got,
        wanted=f"{wanted}, by eager PyTorch",
        next_step="The program was not packaged; report this configuration as a bug.",
    )

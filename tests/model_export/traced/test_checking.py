"""What the check of a brought module's gradients makes of rounding, and of functions that know no
double precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.functional import rnnt_loss

from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
from fedvoice.model_export.fresh import new_model, parameter_table
from fedvoice.model_export.gradient_check import GRADIENT_TOLERANCE, Checked, check_step
from fedvoice.model_export.lowering.runtime import demand_operators
from fedvoice.model_export.package import export_task
from fedvoice.model_export.traced.precision import SingleWhereItMust
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import Bucket, FeatureSettings
from tests.model_export.eager import EagerGraphs


class Attending(nn.Module):
    """Attention, whose bias of keys moves all scores of a query alike: its gradient is 0."""

    predicts = "label"

    def __init__(self, input_size: int, vocabulary_size: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(input_size, 4), nn.Linear(input_size, 4)
        self.head = nn.Linear(input_size, vocabulary_size)

    def predict(self, features: Tensor) -> Tensor:
        scores = self.query(features) @ self.key(features).transpose(1, 2)
        return self.head((scores.softmax(-1) @ features).mean(1))  # type: ignore[no-any-return]

    def forward(self, features: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy(self.predict(features), label, reduction="none")


class Scaled(nn.Module):
    """A scale before a normalisation, which leaves of its gradient what epsilon does."""

    predicts = "label"

    def __init__(self, input_size: int, vocabulary_size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 30.0))
        self.head = nn.Linear(input_size, vocabulary_size)

    def predict(self, features: Tensor) -> Tensor:
        unit = functional.layer_norm(features * self.scale, features.shape[-1:])
        return self.head(unit.mean(1))  # type: ignore[no-any-return]

    def forward(self, features: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy(self.predict(features), label, reduction="none")


class Counting(Scaled):
    """Keeps count of its calls, which no phone could tell a server."""

    def __init__(self, input_size: int, vocabulary_size: int) -> None:
        super().__init__(input_size, vocabulary_size)
        self.register_buffer("calls", torch.zeros(()))

    def predict(self, features: Tensor) -> Tensor:
        self.calls.add_(1)
        return super().predict(features)


class Spectral(Scaled):
    """Power iteration writes into buffers, inside of torch."""

    def __init__(self, input_size: int, vocabulary_size: int) -> None:
        super().__init__(input_size, vocabulary_size)
        self.head = nn.utils.parametrizations.spectral_norm(self.head)


class Astray:
    """Graphs, but for one gradient that is a little off."""

    def __init__(self, graphs: EagerGraphs, place: slice, part: float) -> None:
        self.graphs, self.place, self.part = graphs, place, part

    def run(self, method: str, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        loss, flat = self.graphs.run(method, inputs)
        flat = flat.clone()
        flat[self.place] += self.part * flat.abs().max()
        return [loss, flat]


def checked_of(kind: type[nn.Module]) -> tuple[Checked, Bucket]:
    config = ExportConfig(
        name="checked",
        model={"kind": f"{__name__}:{kind.__name__}"},
        features=FeatureSettings(mel_bins=5, stack=1),
        vocabulary=VocabularyConfig(tokens=("a", "b"), as_given=True),
        buckets=(BucketConfig(frames=6, labels=1, batch=2),),
    )
    model = new_model(config, 3)
    (bucket,) = config.task_buckets()
    return Checked(config.model, model, parameter_table(model), config.features), bucket


def test_a_gradient_of_nothing_is_measured_by_the_largest() -> None:
    checked, bucket = checked_of(Attending)
    graphs = EagerGraphs(checked, bucket)
    assert check_step(graphs, checked, bucket).error < 1e-5
    key_bias = next(spec for spec in checked.table.parameters if spec.name == "key.bias")
    with pytest.raises(FedvoiceError, match=r"key\.bias") as error:
        check_step(Astray(graphs, key_bias.place, 1e-3), checked, bucket)
    assert error.value.code is ErrorCode.GRADIENT_CHECK


def test_a_gradient_of_which_little_is_left_is_measured_by_pytorchs_own_rounding() -> None:
    checked, bucket = checked_of(Scaled)
    graphs = EagerGraphs(checked, bucket)
    assert check_step(graphs, checked, bucket).error > GRADIENT_TOLERANCE
    scale = next(spec for spec in checked.table.parameters if spec.name == "scale")
    with pytest.raises(FedvoiceError, match="scale"):
        check_step(Astray(graphs, scale.place, 1e-3), checked, bucket)


@pytest.mark.parametrize(
    ("kind", "buffer", "line"),
    [(Counting, "calls", "self.calls.add_"), (Spectral, "head", "return self.head(unit.mean(1))")],
)
def test_a_write_into_a_buffer_is_refused_by_line(
    kind: type[nn.Module], buffer: str, line: str
) -> None:
    checked, bucket = checked_of(kind)
    with pytest.raises(FedvoiceError, match=f"buffer {buffer}") as error:
        EagerGraphs(checked, bucket)
    path, _, number = error.value.where.rpartition(":")
    assert line in Path(path).read_text().splitlines()[int(number) - 1]


def test_a_function_without_double_precision_is_computed_in_single() -> None:
    logits = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 2], [3, 0]], dtype=torch.int32)
    lengths = torch.tensor([4, 3], dtype=torch.int32), torch.tensor([2, 1], dtype=torch.int32)

    def loss_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.requires_grad_()
        loss = rnnt_loss(x, targets, *lengths, blank=0, reduction="none")
        return loss.detach(), torch.autograd.grad(loss.sum(), x)[0]

    single = loss_and_gradient(logits.clone())
    with SingleWhereItMust():
        double = loss_and_gradient(logits.double())
    for found, wanted in zip(double, single, strict=True):
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, wanted.double())


def test_an_operator_without_a_kernel_is_named_at_export() -> None:
    demand_operators(["aten::cumsum.out"])
    with pytest.raises(FedvoiceError, match="aten::cumprod") as error:
        demand_operators(["aten::cumsum.out", "aten::cumprod.out"])
    assert error.value.code is ErrorCode.MISSING_OPERATOR


class Listening(nn.Module):
    """A recurrent layer, whose stacked states are turned round by a view where there is one row."""

    predicts = "ctc"

    def __init__(self, input_size: int, vocabulary_size: int) -> None:
        super().__init__()
        self.encode = nn.LSTM(input_size, 4, batch_first=True)
        self.head = nn.Linear(4, vocabulary_size)

    def predict(self, features: Tensor) -> Tensor:
        return self.head(self.encode(features)[0])  # type: ignore[no-any-return]

    def forward(
        self, features: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        log_p = self.predict(features).log_softmax(-1).transpose(0, 1)
        return functional.ctc_loss(log_p, targets, lengths, target_lengths, reduction="none")


def test_phones_may_learn_from_one_row_at_a_time(tmp_path: Path) -> None:
    config = ExportConfig(
        name="alone",
        model={"kind": f"{__name__}:Listening"},
        features=FeatureSettings(mel_bins=3, stack=1),
        vocabulary=VocabularyConfig(tokens=("a", "b")),
        buckets=(BucketConfig(frames=5, labels=2, batch=1),),
    )
    assert export_task(config, tmp_path / "task").worst_gradient.error < 2e-4

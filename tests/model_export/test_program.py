"""Exported programs on the real ExecuTorch runtime, from the package as a phone would read it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedvoice.model_export.gradient_check import Checked, check_features, check_step, speech_like
from fedvoice.model_export.graphs.ctc_step import CtcStep
from fedvoice.model_export.graphs.features import LogMel
from fedvoice.model_export.graphs.methods import step_and_decode
from fedvoice.model_export.graphs.step import StepGraph
from fedvoice.model_export.kinds import build_model
from fedvoice.model_export.kinds.ctc import CtcConfig
from fedvoice.model_export.kinds.encoder import EncoderConfig
from fedvoice.model_export.lowering.program import lower
from fedvoice.model_export.lowering.runtime import LoadedProgram
from fedvoice.model_export.package import ExportSummary, parameter_table
from fedvoice.model_export.torch_engine import TorchEngine
from fedvoice.protocol.engine import Batch
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.task import Bucket, FeatureSettings, TaskManifest, load_package


def random_batch(manifest: TaskManifest, bucket: Bucket, seed: int, real: int) -> Batch:
    """Ragged rows; those from `real` on are padding."""
    random = np.random.default_rng(seed)
    batch, frames = bucket.batch, bucket.frames
    shape = (batch, frames * manifest.features.stack, manifest.features.mel_bins)
    frame_counts = random.integers(2 * bucket.labels, frames + 1, batch)
    target_counts = random.integers(0, bucket.labels + 1, batch)
    frame_counts[real:], target_counts[real:] = 1, 0
    targets = random.integers(1, manifest.vocabulary.size, (batch, bucket.labels))
    weights = np.zeros(batch, np.float32)
    weights[:real] = 1 / real
    features = random.standard_normal(shape, dtype=np.float32)
    return Batch(features, targets, frame_counts, target_counts, weights)


class Phone:
    """The least host: a program, and views of one flat vector."""

    def __init__(self, summary: ExportSummary) -> None:
        self.package = load_package(summary.package.directory)
        self.manifest = self.package.manifest
        self.program = LoadedProgram(self.package.program_path.read_bytes())

    def step(self, bucket: Bucket, weights: FlatVector, batch: Batch) -> tuple[float, FlatVector]:
        inputs = (
            batch.features,
            batch.targets,
            batch.frame_counts,
            batch.target_counts,
            batch.example_weights,
        )
        tensors = [torch.from_numpy(a) for a in (*self.manifest.parameters.views(weights), *inputs)]
        loss, gradient = self.program.run(bucket.step_method, tuple(tensors))
        return loss.item(), gradient.numpy().copy()

    def decode(self, bucket: Bucket, weights: FlatVector, batch: Batch) -> list[list[int]]:
        inputs = (*self.manifest.parameters.views(weights), batch.features, batch.frame_counts)
        tokens, counts = self.program.run(
            bucket.decode_method, tuple(torch.from_numpy(a) for a in inputs)
        )
        rows = [[int(t) for t in tokens[:, row] if t] for row in range(bucket.batch)]
        assert [len(row) for row in rows] == counts.tolist()
        return rows


def test_law_8_gradients_are_right_for_every_parameter_on_consecutive_calls(
    exported: ExportSummary,
) -> None:
    phone = Phone(exported)
    reference = TorchEngine(phone.manifest)
    weights = phone.package.weights()
    for bucket in phone.manifest.buckets:
        for seed in (1, 2, 3):
            batch = random_batch(phone.manifest, bucket, seed, bucket.batch)
            loss, gradient = phone.step(bucket, weights, batch)
            wanted_loss, wanted = reference.step(bucket, weights, batch)
            assert loss == pytest.approx(wanted_loss, rel=1e-5)
            table = phone.manifest.parameters
            for got, want in zip(table.views(gradient), table.views(wanted), strict=True):
                assert np.abs(got - want).max() <= 2e-4 * np.abs(want).max()
            weights = weights - 0.1 * gradient


def test_padding_rows_change_nothing(exported: ExportSummary) -> None:
    phone = Phone(exported)
    reference = TorchEngine(phone.manifest)
    weights, bucket = phone.package.weights(), phone.manifest.buckets[-1]
    batch = random_batch(phone.manifest, bucket, seed=4, real=2)
    loss, gradient = phone.step(bucket, weights, batch)
    other_rubbish = random_batch(phone.manifest, bucket, seed=5, real=2).features
    other_rubbish[:2] = batch.features[:2]
    same_loss, same_gradient = phone.step(bucket, weights, replace(batch, features=other_rubbish))
    assert same_loss == loss
    np.testing.assert_array_equal(same_gradient, gradient)
    real = Batch(*(getattr(batch, name)[:2] for name in batch.__dataclass_fields__))
    wanted_loss, wanted = reference.step(bucket, weights, real)
    assert loss == pytest.approx(wanted_loss, rel=1e-5)
    assert np.abs(gradient - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_decoding_is_one_call_and_equals_the_host_loop(exported: ExportSummary) -> None:
    phone = Phone(exported)
    reference = TorchEngine(phone.manifest)
    weights = phone.package.weights() * 4
    places = {spec.name: spec for spec in phone.manifest.parameters.parameters}
    weights[places["output.bias"].offset] = 1.0  # a fresh model's blank hardly ever lets others in
    for bucket in phone.manifest.buckets:
        batch = random_batch(phone.manifest, bucket, seed=6, real=3)
        got = phone.decode(bucket, weights, batch)
        assert got == reference.decode(bucket, weights, batch.features, batch.frame_counts)
        lengths = {len(row) for row in got}
        assert max(lengths) > min(lengths)


def test_features_equal_torchaudio_at_every_length(exported: ExportSummary) -> None:
    phone = Phone(exported)
    settings = phone.manifest.features
    assert check_features(phone.program, settings, seed=7) <= 2e-4
    samples = settings.fft_size + 11 * settings.hop_samples
    waveform = speech_like(samples, settings.sample_rate, seed=8)
    (got,) = phone.program.run("features", (waveform,))
    engine = TorchEngine(phone.manifest)
    np.testing.assert_allclose(got[0], engine.features(waveform[0].numpy()), atol=2e-4)
    assert engine.features(np.zeros(10, np.float32)).shape == (0, settings.mel_bins)


def test_the_summary_tells_what_the_package_holds(exported: ExportSummary) -> None:
    manifest = exported.package.manifest
    names = {"features"} | {
        f"{method}_{bucket.name}" for bucket in manifest.buckets for method in ("step", "decode")
    }
    names |= set(manifest.streaming.methods if manifest.streaming else ())
    assert set(exported.arena_bytes) == names
    for bucket in manifest.buckets:
        assert bucket.step_arena_bytes == exported.arena_bytes[bucket.step_method]
        # The gradient lies inside the arena.
        assert bucket.step_arena_bytes > manifest.parameters.weights_bytes
    assert exported.payload_bytes == 4 * manifest.parameters.total_size
    assert manifest.delegates == ("XnnpackBackend",)
    assert "aten::index_select.out" in manifest.operators


class DoubledBias(CtcStep):
    """A step with one wrong gradient."""

    def gradients(self, *args):  # type: ignore[no-untyped-def]
        nll, gradients = super().gradients(*args)
        return nll, gradients | {"output.bias": gradients["output.bias"] * 2}


class SharedGradient(CtcStep):
    """A step in which two parameters have one gradient node."""

    def gradients(self, *args):  # type: ignore[no-untyped-def]
        nll, gradients = super().gradients(*args)
        shared = gradients["encoder.bias_ih_l0"]
        return nll, gradients | {"encoder.bias_ih_l0_reverse": shared}


def tiny_ctc(step: type[CtcStep]) -> tuple[Checked, Bucket, StepGraph]:
    features = FeatureSettings(mel_bins=2, stack=1)
    config = CtcConfig(encoder=EncoderConfig(layers=1, hidden_size=2, bidirectional=True))
    model = build_model(config, 2, 3)
    checked = Checked(config, model, parameter_table(model), features)
    bucket = Bucket(name="t4", frames=4, labels=2, batch=2)
    return checked, bucket, step(config, checked.table, bucket.frames, bucket.batch)


def test_law_8_a_wrong_gradient_is_found_and_named() -> None:
    checked, bucket, graph = tiny_ctc(DoubledBias)
    source, _ = step_and_decode(
        checked.config, checked.table, bucket, checked.features, checked.model
    )
    program = lower({bucket.step_method: replace(source, graph=graph)})
    with pytest.raises(FedvoiceError, match=r"gradient of output\.bias") as caught:
        check_step(LoadedProgram(program.data), checked, bucket)
    assert caught.value.code is ErrorCode.GRADIENT_CHECK


def test_law_8_a_gradient_that_cannot_lie_in_the_flat_output_is_refused() -> None:
    checked, bucket, graph = tiny_ctc(SharedGradient)
    source, _ = step_and_decode(
        checked.config, checked.table, bucket, checked.features, checked.model
    )
    with pytest.raises(FedvoiceError, match="memory plan") as caught:
        lower({bucket.step_method: replace(source, graph=graph)})
    assert caught.value.code is ErrorCode.GRADIENT_CHECK


class EagerFeatures:
    """The graph of the front end in PyTorch, off by a constant."""

    def __init__(self, settings: FeatureSettings, shift: float) -> None:
        self.front_end = LogMel(settings)
        self.shift = shift

    def run(self, method: str, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """Its one method."""
        assert method == "features"
        return [self.front_end(*inputs) + self.shift]


@pytest.mark.parametrize("mel_bins", [24, 64, 80, 128])
def test_narrow_bands_are_held_to_what_float32_can_keep_of_them(mel_bins: int) -> None:
    settings = FeatureSettings(mel_bins=mel_bins)
    assert check_features(EagerFeatures(settings, 0.0), settings) < 2e-3
    with pytest.raises(FedvoiceError, match="features") as caught:
        check_features(EagerFeatures(settings, 5e-3), settings)
    assert caught.value.code is ErrorCode.GRADIENT_CHECK

"""An ExecuTorch program for recognition alone: `features` and `decode_<bucket>`, weights inside."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.ao.quantization.fx import _decomposed  # noqa: F401 - registers the operator

from fedvoice.model_export.graphs.methods import (
    FEATURES_METHOD,
    LEAST_FRAMES,
    features_source,
)
from fedvoice.model_export.kinds import from_settings, kind_of
from fedvoice.model_export.log_mel import reference_features
from fedvoice.model_export.lowering.program import MethodSource, Program, lower
from fedvoice.model_export.lowering.runtime import LoadedProgram, demand_operators
from fedvoice.model_export.models.module import ModuleModel
from fedvoice.model_export.outgoing.speech import Heard
from fedvoice.model_export.outgoing.trained import Trained
from fedvoice.protocol.engine import inputs_of
from fedvoice.protocol.notes import Note
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.task import TaskManifest

PROGRAM_FILES = {"float32": "recogniser.pte", "int8": "recogniser-int8.pte"}
LARGEST = 127
"""Of an int8."""
dequantize = torch.ops.quantized_decomposed.dequantize_per_tensor.default
"""The form that the XNNPACK delegate runs (its conversion of int8 to float32)."""


class Measured(NamedTuple):
    """tokens: a list an utterance. secs: CPU time of features and decoding. audio_secs: of what was
    heard."""

    tokens: list[list[int]]
    secs: float
    audio_secs: float

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of computing a second of sound; None without sound."""
        return self.secs / self.audio_secs if self.audio_secs else None


class _WithWeights(nn.Module):
    """A decoder graph with its weights inside; forward(x, x_lens) -> tokens, counts.

    int8: matrices are stored as bytes with a scale a row, and made float32 at the beginning of each
    call; vectors stay float32.
    """

    def __init__(self, decode: nn.Module, parameters: list[Tensor], int8: bool) -> None:
        super().__init__()
        self.decode, self.count = decode, len(parameters)
        for i, parameter in enumerate(parameters):
            if int8 and parameter.dim() >= 2:
                values, scale = quantised_rows(parameter)
                self.register_buffer(f"values_{i}", values)
                self.register_buffer(f"scale_{i}", scale)
            else:
                self.register_buffer(f"weight_{i}", parameter)

    def forward(self, x: Tensor, x_lens: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        tokens, counts = self.decode(tuple(self._weight(i) for i in range(self.count)), x, x_lens)
        return tokens, counts

    def _weight(self, i: int) -> Tensor:
        if hasattr(self, f"values_{i}"):
            values: Tensor = getattr(self, f"values_{i}")
            scale: Tensor = getattr(self, f"scale_{i}")
            # Not `values.to(float32)`: that is a portable kernel, eight times the delegate's time.
            whole: Tensor = dequantize(values, 1.0, 0, -LARGEST, LARGEST, torch.int8)
            return whole * scale
        weight: Tensor = getattr(self, f"weight_{i}")
        return weight


def quantised_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 of a weight's shape, and a float32 scale of each of its rows, which multiplies it."""
    largest = weight.abs().flatten(1).amax(1).clamp(min=torch.finfo(torch.float32).tiny)
    scale = (largest / LARGEST).view(-1, *[1] * (weight.dim() - 1))
    values = torch.round(weight / scale).clamp(-LARGEST, LARGEST)
    return values.to(torch.int8), scale


def build_program(trained: Trained, *, int8: bool, report: Note = lambda _: None) -> Program:
    """`features` where the task takes log-mel of recordings, and `decode_<bucket>`: x float32
    [B, T * stack, mel_bins], x_lens int64 [B] -> tokens int64 [N, B], counts int64 [B]; B is 1, and
    2 for a brought module, whose traced graphs cannot be lowered for one row.

    Raises:
        FedvoiceError: `bad-config` for a kind that has no program; `missing-operator`.
    """
    manifest = trained.manifest
    config = from_settings(manifest.model_kind, manifest.model)
    parameters = [torch.from_numpy(v) for v in manifest.parameters.unpack(trained.weights).values()]
    methods: dict[str, MethodSource] = {}
    if manifest.has_features:
        methods[FEATURES_METHOD] = features_source(manifest.features)
    for bucket in manifest.buckets:
        bucket = bucket.model_copy(update={"batch": _rows(trained), "draws": 0})
        _, decode = kind_of(config).graphs(config, manifest.parameters, bucket, trained.model)
        shape = (bucket.batch, bucket.frames * manifest.features.stack, manifest.features.mel_bins)
        inputs = (torch.zeros(shape), torch.ones(bucket.batch, dtype=torch.int64))
        graph = _WithWeights(decode, parameters, int8)
        methods[bucket.decode_method] = MethodSource(graph, inputs)
    program = lower(methods, report)
    demand_operators(program.operators)
    return program


def measure(program: Program, trained: Trained, heard: list[Heard]) -> Measured:
    """Transcribe utterances on the stock runtime: from their waveforms where there are some."""
    manifest, rows = trained.manifest, _rows(trained)
    loaded, settings = LoadedProgram(program.data), manifest.features
    tokens, secs, audio_secs = [], 0.0, 0.0
    for one in heard:
        began = time.process_time()
        features = one.features.reshape(-1, settings.mel_bins)
        if one.waveform.size:
            log_mel = partial(_features, loaded, manifest)
            features = torch.from_numpy(inputs_of(one.waveform, settings, log_mel))
        bucket = manifest.bucket_for(int(one.lengths), 0)
        assert bucket is not None  # `read_speech` leaves out what fits none
        x = torch.zeros(rows, bucket.frames * settings.stack, settings.mel_bins)
        x[0, : len(features)] = features
        found, _ = loaded.run(bucket.decode_method, (x, one.lengths.repeat(rows)))
        tokens.append([int(token) for token in found[:, 0] if token])
        secs += time.process_time() - began
        audio_secs += one.waveform.size / settings.sample_rate
    return Measured(tokens, secs, audio_secs)


def _rows(trained: Trained) -> int:
    return 2 if isinstance(trained.model, ModuleModel) else 1


def write_program(program: Program, path: Path) -> Path:
    """The bytes of a program as a file."""
    path.write_bytes(program.data)
    return path


def _features(loaded: LoadedProgram, manifest: TaskManifest, heard: Float32Array) -> Float32Array:
    settings = manifest.features
    frames = settings.frames(heard.size)
    if frames < LEAST_FRAMES:
        return reference_features(torch.from_numpy(heard)[None], settings)[0].numpy()
    used = frames * settings.hop_samples + settings.fft_size - settings.hop_samples
    waveform = torch.from_numpy(heard[:used].reshape(1, -1))
    found: Float32Array = loaded.run(FEATURES_METHOD, (waveform,))[0].numpy()[0].copy()
    return found

"""The methods of a task's program: `features`, and `step_*`, `decode_*` for every bucket."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model_export.graphs.ctc_step import CtcStep
from model_export.graphs.decode import build_decode
from model_export.graphs.features import LogMel
from model_export.graphs.rnnt_step import RnntStep
from model_export.graphs.step import StepGraph
from model_export.lowering.program import MethodSource
from model_export.models.config import ModelConfig, RnntConfig
from protocol.parameters import ParameterTable
from protocol.task import Bucket, FeatureSettings

FEATURES_METHOD = "features"
LEAST_FRAMES = 2
"""Shortest waveform of `features`, in frames (a dynamic size of one would be specialised)."""


def build_step(config: ModelConfig, table: ParameterTable, bucket: Bucket) -> StepGraph:
    """The training step of a model at a bucket's sizes."""
    if isinstance(config, RnntConfig):
        return RnntStep(config, table, bucket.frames, bucket.labels, bucket.batch)
    return CtcStep(config, table, bucket.frames, bucket.batch)


def step_source(
    config: ModelConfig, table: ParameterTable, bucket: Bucket, features: FeatureSettings
) -> MethodSource:
    """`step_<bucket>`: see `StepGraph` for its signature."""
    rows = torch.ones(bucket.batch, dtype=torch.int64)
    inputs = (
        _example_parameters(table),
        _example_features(bucket, features),
        torch.zeros(bucket.batch, bucket.labels, dtype=torch.int64),
        rows,
        rows.clone(),
        torch.ones(bucket.batch),
    )
    return MethodSource(build_step(config, table, bucket), inputs)


def decode_source(
    config: ModelConfig, table: ParameterTable, bucket: Bucket, features: FeatureSettings
) -> MethodSource:
    """`decode_<bucket>`: see `DecodeGraph` for its signature."""
    inputs = (
        _example_parameters(table),
        _example_features(bucket, features),
        torch.ones(bucket.batch, dtype=torch.int64),
    )
    return MethodSource(build_decode(config, table, bucket.frames, bucket.batch), inputs)


def features_source(settings: FeatureSettings) -> MethodSource:
    """`features`: waveform float32 [1, hop*k + fft - hop] -> float32 [1, k, mel_bins]."""
    hop, extra = settings.hop_samples, settings.fft_size - settings.hop_samples
    most = math.ceil(settings.max_secs * settings.sample_rate / hop)
    frames = torch.export.Dim("frames", min=LEAST_FRAMES, max=most)
    return MethodSource(
        LogMel(settings),
        (torch.zeros(1, hop * most + extra),),
        dynamic_shapes={"waveform": {1: hop * frames + extra}},
    )


def task_methods(
    config: ModelConfig,
    table: ParameterTable,
    buckets: tuple[Bucket, ...],
    settings: FeatureSettings,
) -> dict[str, MethodSource]:
    """All methods of a task, by name."""
    methods = {FEATURES_METHOD: features_source(settings)}
    for bucket in buckets:
        methods[bucket.step_method] = step_source(config, table, bucket, settings)
        methods[bucket.decode_method] = decode_source(config, table, bucket, settings)
    return methods


def _example_parameters(table: ParameterTable) -> tuple[Tensor, ...]:
    # Separate tensors: tracing refuses inputs that share memory.
    return tuple(torch.zeros(spec.shape) for spec in table.parameters)


def _example_features(bucket: Bucket, features: FeatureSettings) -> Tensor:
    return torch.zeros(bucket.batch, bucket.frames * features.stack, features.mel_bins)

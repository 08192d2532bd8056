"""The methods of a task's program: `step_*`, `decode_*` for every bucket, and `features`.

`features` only where examples are made from recordings.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fedvoice.model_export.graphs.features import LogMel
from fedvoice.model_export.kinds import kind_of
from fedvoice.model_export.kinds.base import KindConfig
from fedvoice.model_export.lowering.program import MethodSource
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.task import Bucket, FeatureSettings

FEATURES_METHOD = "features"
LEAST_FRAMES = 2
"""Shortest waveform of `features`, in frames (tracing specialises a dynamic size of one)."""


def step_source(
    config: KindConfig, table: ParameterTable, bucket: Bucket, features: FeatureSettings
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
    return MethodSource(kind_of(config).graphs(config, table, bucket)[0], inputs)


def decode_source(
    config: KindConfig, table: ParameterTable, bucket: Bucket, features: FeatureSettings
) -> MethodSource:
    """`decode_<bucket>`: see `DecodeGraph` for its signature."""
    inputs = (
        _example_parameters(table),
        _example_features(bucket, features),
        torch.ones(bucket.batch, dtype=torch.int64),
    )
    return MethodSource(kind_of(config).graphs(config, table, bucket)[1], inputs)


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
    config: KindConfig,
    table: ParameterTable,
    buckets: tuple[Bucket, ...],
    settings: FeatureSettings,
) -> dict[str, MethodSource]:
    """All methods of a task, by name."""
    takes_audio = kind_of(config).takes_audio
    methods = {FEATURES_METHOD: features_source(settings)} if takes_audio else {}
    for bucket in buckets:
        methods[bucket.step_method] = step_source(config, table, bucket, settings)
        methods[bucket.decode_method] = decode_source(config, table, bucket, settings)
    return methods


def _example_parameters(table: ParameterTable) -> tuple[Tensor, ...]:
    # Separate tensors: tracing refuses inputs that share memory.
    return tuple(torch.zeros(spec.shape) for spec in table.parameters)


def _example_features(bucket: Bucket, features: FeatureSettings) -> Tensor:
    return torch.zeros(bucket.batch, bucket.frames * features.stack, features.mel_bins)

"""The methods of a task's program: `step_*`, `decode_*` for every bucket, and `features`.

`features` only where examples are made from recordings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fedvoice.model_export.graphs.char_lstm import CharLstmNet
from fedvoice.model_export.graphs.cnn import CnnNet
from fedvoice.model_export.graphs.ctc_step import CtcStep
from fedvoice.model_export.graphs.decode import (
    CtcDecode,
    DecodeGraph,
    RnntDecode,
)
from fedvoice.model_export.graphs.features import LogMel
from fedvoice.model_export.graphs.labeller import (
    LabellerDecode,
    LabellerNet,
    LabellerStep,
)
from fedvoice.model_export.graphs.rnnt_step import RnntStep
from fedvoice.model_export.graphs.step import StepGraph
from fedvoice.model_export.graphs.two_layer import TwoLayerNet
from fedvoice.model_export.lowering.program import MethodSource
from fedvoice.model_export.models.config import ModelConfig
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.task import (
    WITHOUT_AUDIO,
    Bucket,
    FeatureSettings,
)

FEATURES_METHOD = "features"
LEAST_FRAMES = 2
"""Shortest waveform of `features`, in frames (a dynamic size of one would be specialised)."""


Graphs = tuple[StepGraph, DecodeGraph]


def build_graphs(config: ModelConfig, table: ParameterTable, bucket: Bucket) -> Graphs:
    """Training step and decoder of a model at a bucket's sizes."""
    return GRAPHS[config.kind](config, table, bucket)


def _rnnt(config: Any, table: ParameterTable, bucket: Bucket) -> Graphs:
    frames, batch = bucket.frames, bucket.batch
    step = RnntStep(config, table, frames, bucket.labels, batch)
    return step, RnntDecode(config, table, frames, batch)


def _ctc(config: Any, table: ParameterTable, bucket: Bucket) -> Graphs:
    frames, batch = bucket.frames, bucket.batch
    return CtcStep(config, table, frames, batch), CtcDecode(config, table, frames, batch)


def _labeller(net: LabellerNet, table: ParameterTable) -> Graphs:
    return LabellerStep(net, table), LabellerDecode(net, table)


def _two_layer(config: Any, table: ParameterTable, bucket: Bucket) -> Graphs:
    return _labeller(TwoLayerNet(bucket.frames, bucket.batch), table)


def _char_lstm(config: Any, table: ParameterTable, bucket: Bucket) -> Graphs:
    return _labeller(CharLstmNet(config, bucket.frames, bucket.batch), table)


def _cnn(config: Any, table: ParameterTable, bucket: Bucket) -> Graphs:
    """The image's size is in the dense layer: channels2 * (side / 4)^2 inputs."""
    inputs = next(s.shape[1] for s in table.parameters if s.name == "dense.weight")
    side = 4 * math.isqrt(inputs // config.channels2)
    return _labeller(CnnNet(side, bucket.frames, bucket.batch), table)


GRAPHS: dict[str, Callable[[Any, ParameterTable, Bucket], Graphs]] = {
    "rnnt": _rnnt,
    "ctc": _ctc,
    "2nn": _two_layer,
    "char-lstm": _char_lstm,
    "cnn": _cnn,
}
"""By kind: what makes step and decoder from a configuration."""


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
    return MethodSource(build_graphs(config, table, bucket)[0], inputs)


def decode_source(
    config: ModelConfig, table: ParameterTable, bucket: Bucket, features: FeatureSettings
) -> MethodSource:
    """`decode_<bucket>`: see `DecodeGraph` for its signature."""
    inputs = (
        _example_parameters(table),
        _example_features(bucket, features),
        torch.ones(bucket.batch, dtype=torch.int64),
    )
    return MethodSource(build_graphs(config, table, bucket)[1], inputs)


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
    heard = config.kind not in WITHOUT_AUDIO
    methods = {FEATURES_METHOD: features_source(settings)} if heard else {}
    for bucket in buckets:
        methods[bucket.step_method] = step_source(config, table, bucket, settings)
        methods[bucket.decode_method] = decode_source(config, table, bucket, settings)
    return methods


def _example_parameters(table: ParameterTable) -> tuple[Tensor, ...]:
    # Separate tensors: tracing refuses inputs that share memory.
    return tuple(torch.zeros(spec.shape) for spec in table.parameters)


def _example_features(bucket: Bucket, features: FeatureSettings) -> Tensor:
    return torch.zeros(bucket.batch, bucket.frames * features.stack, features.mel_bins)

"""The methods of a task's program: `step_*`, `decode_*` for every bucket, `features`, and
those that recognise chunk by chunk.

`features` only where examples are log-mel of recordings; streaming ones where they are asked for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fedvoice.model_export.graphs.decode import DecodeGraph
from fedvoice.model_export.graphs.features import LogMel
from fedvoice.model_export.graphs.partial import PartialDecode, PartialStep
from fedvoice.model_export.graphs.step import StepGraph
from fedvoice.model_export.graphs.stream import StreamingGraphs
from fedvoice.model_export.kinds import kind_of
from fedvoice.model_export.kinds.base import KindConfig
from fedvoice.model_export.lowering.program import MethodSource
from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.models.module import ModuleModel
from fedvoice.model_export.models.partial import PartialModel
from fedvoice.model_export.traced.step import traced_graphs
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.task import Bucket, FeatureSettings

FEATURES_METHOD = "features"
LEAST_FRAMES = 2
"""Shortest waveform of `features`, in frames (tracing specialises a dynamic size of one)."""


def step_and_decode(
    config: KindConfig,
    table: ParameterTable,
    bucket: Bucket,
    features: FeatureSettings,
    model: TaskModel,
) -> tuple[MethodSource, MethodSource]:
    """`step_<bucket>` and `decode_<bucket>`, as `StepGraph` and `DecodeGraph` have them."""
    step, decode = _graphs(config, table, bucket, model)
    rows = torch.ones(bucket.batch, dtype=torch.int64)
    step_inputs: list[Tensor | tuple[Tensor, ...]] = [
        _example_parameters(table),
        _example_features(bucket, features),
        torch.zeros(bucket.batch, bucket.labels, dtype=torch.int64),
        rows,
        rows.clone(),
        torch.ones(bucket.batch),
    ]
    if bucket.draws:
        step_inputs.append(torch.zeros(bucket.draws))
    decode_inputs = (_example_parameters(table), _example_features(bucket, features), rows.clone())
    return MethodSource(step, tuple(step_inputs)), MethodSource(decode, decode_inputs)


def _graphs(
    config: KindConfig, table: ParameterTable, bucket: Bucket, model: TaskModel
) -> tuple[nn.Module, nn.Module]:
    kind = kind_of(config)
    if not isinstance(model, PartialModel):
        return kind.graphs(config, table, bucket, model)
    if isinstance(model.base, ModuleModel):
        return traced_graphs(model, table, bucket)
    every = [(name, tuple(tensor.shape)) for name, tensor in model.merged().items()]
    step, decode = kind.graphs(config, ParameterTable.from_shapes(every), bucket, model.base)
    if not isinstance(step, StepGraph) or not isinstance(decode, DecodeGraph):
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=f"export, partial training of model kind {config.kind}",
            got=f"graphs {type(step).__name__} and {type(decode).__name__}",
            wanted="a StepGraph and a DecodeGraph",
            next_step="Derive the kind's graphs from these, or train the whole model.",
        )
    return PartialStep(step, model, table), PartialDecode(decode, model, table)


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


def streaming_methods(
    streaming: StreamingGraphs, table: ParameterTable, settings: FeatureSettings
) -> dict[str, MethodSource]:
    """The methods of `protocol.task.Streaming`, by name."""
    sizes = streaming.sizes
    states = torch.zeros(sizes.rows, sizes.predictor_state)
    outputs = torch.zeros(sizes.rows, sizes.outputs)
    chunk = torch.zeros(1, sizes.frames * settings.stack, settings.mel_bins)
    inputs = (
        (chunk, torch.zeros(sizes.encoder_state)),
        (torch.zeros(sizes.rows, dtype=torch.int64), states),
        (outputs, outputs.clone()),
    )
    return {
        name: MethodSource(streaming.graphs[name], (_example_parameters(table), *given))
        for name, given in zip(sizes.methods, inputs, strict=False)
    }


def task_methods(
    config: KindConfig,
    table: ParameterTable,
    buckets: tuple[Bucket, ...],
    settings: FeatureSettings,
    model: TaskModel,
    streaming: StreamingGraphs | None = None,
) -> dict[str, MethodSource]:
    """All methods of a task, by name."""
    has_features = kind_of(config).takes_audio and not settings.is_waveform
    methods = {FEATURES_METHOD: features_source(settings)} if has_features else {}
    for bucket in buckets:
        both = step_and_decode(config, table, bucket, settings, model)
        methods[bucket.step_method], methods[bucket.decode_method] = both
    if streaming is not None:
        methods |= streaming_methods(streaming, table, settings)
    return methods


def _example_parameters(table: ParameterTable) -> tuple[Tensor, ...]:
    # Separate tensors: tracing refuses inputs that share memory.
    return tuple(torch.zeros(spec.shape) for spec in table.parameters)


def _example_features(bucket: Bucket, features: FeatureSettings) -> Tensor:
    return torch.zeros(bucket.batch, bucket.frames * features.stack, features.mel_bins)

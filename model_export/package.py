"""From a configuration to a task package on disk."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from fedvoice.model_export.checkpoints import seed_model
from fedvoice.model_export.config import ExportConfig
from fedvoice.model_export.fresh import (
    drawing_buckets,
    flat_weights,
    manifest_of,
    new_model,
    parameter_table,
)
from fedvoice.model_export.gradient_check import (
    Checked,
    GradientReport,
    check_decode,
    check_features,
    check_step,
)
from fedvoice.model_export.graphs.methods import task_methods
from fedvoice.model_export.graphs.stream import StreamingGraphs
from fedvoice.model_export.kinds import kind_of
from fedvoice.model_export.lowering.program import Program, lower
from fedvoice.model_export.lowering.runtime import LoadedProgram, demand_operators
from fedvoice.model_export.models.build import frozen_file
from fedvoice.model_export.seeds import Seeds, WeightsMap
from fedvoice.model_export.stream_check import check_streaming
from fedvoice.model_export.traced.account import Account, account_of
from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.notes import Note
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.task import (
    FROZEN_FILE,
    WEIGHTS_FILE,
    Bucket,
    Streaming,
    TaskPackage,
    save_weights,
    write_package,
)


@dataclass(frozen=True)
class ExportSummary:
    """Summary of an export.

    Attributes:
        arena_bytes: planned memory of each method.
        payload_bytes: one copy of the weights as float32, what a round sends each way.
        gradients: the worst gradient error of each bucket.
        features_error: largest difference of a log-mel value to torchaudio; None for a task
            that takes no log-mel.
        seeds: what was taken of the weights given; None where none were.
        account: of a module that was traced: what was rewritten, fixed, and has no gradient.
    """

    package: TaskPackage
    parameters: int
    arena_bytes: dict[str, int]
    program_bytes: int
    payload_bytes: int
    gradients: tuple[GradientReport, ...]
    features_error: float | None
    export_secs: float
    seeds: Seeds | None = None
    account: Account | None = None

    @property
    def worst_gradient(self) -> GradientReport:
        """The largest gradient error of all buckets."""
        return max(self.gradients, key=lambda report: report.error)


def export_task(
    config: ExportConfig,
    out_dir: Path,
    *,
    weights: Path | None = None,
    weights_map: WeightsMap | None = None,
    allow_partial_weights: bool = False,
    progress: Note = lambda _: None,
) -> ExportSummary:
    """Build, lower, check (law 8) and write a task package.

    Args:
        weights: safetensors or torch file to start from; None: drawn from `config.seed`.
        weights_map: the file's names of the model's parameters; None: the same.
        allow_partial_weights: parameters that the file lacks are drawn.
        progress: called with a few words before each part.

    Raises:
        FedvoiceError: `gradient-check` if the program is not right, `missing-operator` if the
            runtime lacks a kernel of it (nothing is written then),
            and errors of reading the vocabulary's manifest or the weights.
    """
    began = time.monotonic()
    progress("vocabulary")
    vocabulary = config.vocabulary.build()
    features, model = config.features, new_model(config, vocabulary.size)
    buckets = drawing_buckets(config, model)
    table = parameter_table(model)
    seeds = None
    if weights is not None:
        names = weights_map or WeightsMap()
        seeds = seed_model(model, weights, names, allow_partial=allow_partial_weights)
    initial = flat_weights(model, table)
    streaming = streaming_of(config, table)
    methods = task_methods(config.model, table, buckets, features, model, streaming)
    account = account_of(method.graph for method in methods.values())
    program = lower(methods, progress)
    # With fresh weights for what trains: trained ones test nothing more, and may magnify
    # rounding errors.
    checked_model = new_model(config.model_copy(update={"weights": None}), vocabulary.size)
    checked_model.fix(model.fixed())
    checked_model.make_checkable()
    checked = Checked(config.model, checked_model, table, features)
    gradients, features_error = check_program(
        program, checked, buckets, progress, streaming.sizes if streaming else None
    )

    progress("write package")
    weights_path = out_dir / WEIGHTS_FILE
    save_weights(weights_path, initial, table)
    if frozen := frozen_file(model):
        (out_dir / FROZEN_FILE).write_bytes(frozen)
    manifest = manifest_of(
        config,
        model,
        vocabulary,
        buckets=tuple(_with_arenas(bucket, program) for bucket in buckets),
        streaming=streaming.sizes if streaming else None,
        operators=program.operators,
        delegates=program.delegates,
        program_digest=digest_of(program.data),
        weights_digest=digest_of(weights_path.read_bytes()),
    )
    return ExportSummary(
        package=write_package(out_dir, manifest, program.data),
        parameters=table.parameter_count,
        arena_bytes=program.arena_bytes,
        program_bytes=len(program.data),
        payload_bytes=table.weights_bytes,
        gradients=gradients,
        features_error=features_error,
        export_secs=time.monotonic() - began,
        seeds=seeds,
        account=account,
    )


def check_program(
    program: Program,
    checked: Checked,
    buckets: tuple[Bucket, ...],
    progress: Note,
    streaming: Streaming | None = None,
) -> tuple[tuple[GradientReport, ...], float | None]:
    """Law 8 for all methods: gradient reports by bucket, and the features' error if there are any.

    Raises:
        FedvoiceError: `gradient-check`, `missing-operator`.
    """
    demand_operators(program.operators)
    loaded = LoadedProgram(program.data)
    features_error = None
    if kind_of(checked.config).takes_audio and not checked.features.is_waveform:
        progress("check features")
        features_error = check_features(loaded, checked.features)
    reports = []
    for bucket in buckets:
        progress(f"check {bucket.step_method}")
        reports.append(check_step(loaded, checked, bucket))
        progress(f"check {bucket.decode_method}")
        check_decode(loaded, checked, bucket)
    if streaming is not None:
        progress(f"check {streaming.stream_method}")
        check_streaming(loaded, checked, streaming)
    return tuple(reports), features_error


def streaming_of(config: ExportConfig, table: ParameterTable) -> StreamingGraphs | None:
    """The graphs of the configuration's table [streaming], if there is one."""
    if config.streaming is None:
        return None
    kind, sizes = kind_of(config.model), config.streaming
    return kind.streaming_graphs(config.model, table, sizes.frames, sizes.rows)


def _with_arenas(bucket: Bucket, program: Program) -> Bucket:
    return bucket.model_copy(
        update={
            "step_arena_bytes": program.arena_bytes[bucket.step_method],
            "decode_arena_bytes": program.arena_bytes[bucket.decode_method],
        }
    )

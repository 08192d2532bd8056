"""A configuration's model before any training, its weights as one flat vector, its manifest.

Separate from `package`, which imports the lowering; training does not need it.
"""

from __future__ import annotations

from pathlib import Path

import torch

from fedvoice.model_export.checkpoints import seed_model
from fedvoice.model_export.config import ExportConfig
from fedvoice.model_export.kinds import from_settings, kind_of, to_settings
from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.models.build import (
    fix_as_packaged,
    frozen_bytes,
    frozen_file,
    task_model,
)
from fedvoice.model_export.seeds import WeightsMap
from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.parameters import FlatVector, ParameterTable
from fedvoice.protocol.task import Bucket, Streaming, TaskManifest
from fedvoice.protocol.vocabulary import Vocabulary


def parameter_table(model: TaskModel) -> ParameterTable:
    """The flat layout of a model's parameters, in the module's order."""
    return ParameterTable.from_shapes([(n, tuple(p.shape)) for n, p in model.named_parameters()])


def flat_weights(model: TaskModel, table: ParameterTable) -> FlatVector:
    """A model's parameters as a new flat vector [P]."""
    tensors = {name: p.detach().numpy() for name, p in model.named_parameters()}
    return table.pack(tensors, where="model")


def new_model(config: ExportConfig, vocabulary_size: int) -> TaskModel:
    """The model of a configuration with initial weights of its file, or drawn from its seed.

    Raises:
        FedvoiceError: as `checkpoints.seed_model`.
    """
    features = config.features
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        input_size = features.stack * features.mel_bins
        model = task_model(config.model, config.partial, input_size, vocabulary_size)
    if config.weights is not None:
        seed_model(model, config.weights, WeightsMap())
    return model


def manifest_of(
    config: ExportConfig,
    model: TaskModel,
    vocabulary: Vocabulary,
    *,
    buckets: tuple[Bucket, ...],
    streaming: Streaming | None = None,
    operators: tuple[str, ...] = (),
    delegates: tuple[str, ...] = (),
    program_digest: str = "",
    weights_digest: str = "",
) -> TaskManifest:
    """The manifest of a configuration; without digests one of a task that has no program."""
    kind, frozen = kind_of(config.model), frozen_file(model)
    return TaskManifest(
        name=config.name,
        model_kind=config.model.kind,
        takes_audio=kind.takes_audio,
        scoring=kind.scoring,
        model=to_settings(config.model),
        parameters=parameter_table(model),
        features=config.features,
        buckets=buckets,
        vocabulary=vocabulary,
        streaming=streaming,
        plan=config.plan,
        operators=operators,
        delegates=delegates,
        program_digest=program_digest,
        weights_digest=weights_digest,
        partial=config.partial,
        frozen_digest=digest_of(frozen) if frozen else "",
        frozen_bytes=frozen_bytes(model),
    )


def drawing_buckets(config: ExportConfig, model: TaskModel) -> tuple[Bucket, ...]:
    """The buckets of a configuration, with how many numbers a step of each draws."""
    return tuple(
        bucket.model_copy(update={"draws": model.draws(bucket)}) for bucket in config.task_buckets()
    )


def unexported_manifest(config: ExportConfig) -> TaskManifest:
    """The manifest of a configuration whose program is not exported: buckets have no arenas."""
    vocabulary = config.vocabulary.build()
    model = new_model(config, vocabulary.size)
    buckets = drawing_buckets(config, model)
    return manifest_of(config, model, vocabulary, buckets=buckets)


def model_with(
    manifest: TaskManifest, weights: FlatVector, frozen: Path | None = None
) -> TaskModel:
    """A task's model with `weights` float32 [P]; frozen: `TaskPackage.frozen_path`."""
    features = manifest.features
    settings = from_settings(manifest.model_kind, manifest.model)
    input_size = features.stack * features.mel_bins
    model = task_model(settings, manifest.partial, input_size, manifest.vocabulary.size)
    fix_as_packaged(model, manifest, frozen)
    tensors = manifest.parameters.unpack(weights)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(tensors[name]))
    return model

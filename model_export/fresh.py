"""A configuration's model before any training, its weights as one flat vector, its manifest.

Separate from `package`, which imports the lowering; training does not need it.
"""

from __future__ import annotations

import torch

from fedvoice.model_export.config import ExportConfig
from fedvoice.model_export.kinds import build_model, from_settings, kind_of, to_settings
from fedvoice.model_export.models.base import TaskModel
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
    """The model of a configuration with initial weights drawn from its seed."""
    features = config.features
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_model(config.model, features.stack * features.mel_bins, vocabulary_size)


def manifest_of(
    config: ExportConfig,
    table: ParameterTable,
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
    kind = kind_of(config.model)
    return TaskManifest(
        name=config.name,
        model_kind=config.model.kind,
        takes_audio=kind.takes_audio,
        scoring=kind.scoring,
        model=to_settings(config.model),
        parameters=table,
        features=config.features,
        buckets=buckets,
        vocabulary=vocabulary,
        streaming=streaming,
        plan=config.plan,
        operators=operators,
        delegates=delegates,
        program_digest=program_digest,
        weights_digest=weights_digest,
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
    return manifest_of(config, parameter_table(model), vocabulary, buckets=buckets)


def model_with(manifest: TaskManifest, weights: FlatVector) -> TaskModel:
    """A task's model with `weights` float32 [P]."""
    features = manifest.features
    settings = from_settings(manifest.model_kind, manifest.model)
    model = build_model(settings, features.stack * features.mel_bins, manifest.vocabulary.size)
    tensors = manifest.parameters.unpack(weights)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(tensors[name]))
    return model

"""A configuration's model before any training, and its weights as one flat vector.

Apart from `package`, which loads all that lowering needs: whoever only trains needs none of it.
"""

from __future__ import annotations

import torch

from fedvoice.model_export.config import ExportConfig
from fedvoice.model_export.models import (
    TaskModel,
    build_model,
)
from fedvoice.protocol.parameters import (
    FlatVector,
    ParameterTable,
)


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

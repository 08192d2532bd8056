"""A task's model from its settings: whole, or with a part that is frozen."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save

from fedvoice.model_export.checkpoints import read_checkpoint, seed_model
from fedvoice.model_export.kinds import build_model
from fedvoice.model_export.kinds.base import KindConfig
from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.models.partial import PartialModel
from fedvoice.model_export.seeds import WeightsMap
from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.partial import PartialTraining
from fedvoice.protocol.task import FROZEN_FILE, TaskManifest


def task_model(
    config: KindConfig, partial: PartialTraining, input_size: int, vocabulary_size: int
) -> TaskModel:
    """A model whose trained weights come from torch's generator; what is frozen from seed 0, so
    that all trials of a task have the same program.

    Raises:
        FedvoiceError: `bad-config`, see `ModelKind.build` and `protocol.partial.divide`.
    """
    model = build_model(config, input_size, vocabulary_size)
    if partial == PartialTraining():
        return model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        always = PartialModel(build_model(config, input_size, vocabulary_size), partial, "partial")
    drawn = PartialModel(model, partial, "partial")
    drawn.fix(always.fixed())
    return drawn


def frozen_file(model: TaskModel) -> bytes:
    """frozen.safetensors of a model; empty if all of it trains."""
    fixed = {name: tensor.detach().contiguous().clone() for name, tensor in model.fixed().items()}
    return save(fixed) if fixed else b""


def frozen_bytes(model: TaskModel) -> int:
    """Bytes of the tensors that do not train."""
    return sum(tensor.numel() * tensor.element_size() for tensor in model.fixed().values())


def fix_as_packaged(model: TaskModel, manifest: TaskManifest, frozen: Path | None) -> None:
    """Give a model the frozen tensors of its task: from the package's file, from the checkpoint
    that the task began with, or as its constructor makes them if the task's are those.

    Raises:
        FedvoiceError: `bad-package` if the task's are others, and there is no file.
    """
    if not manifest.frozen_digest:
        return
    if frozen is not None and digest_of(frozen.read_bytes()) == manifest.frozen_digest:
        model.fix(read_checkpoint(frozen))
    elif frozen is not None:
        seed_model(model, frozen, WeightsMap())
    if digest_of(frozen_file(model)) != manifest.frozen_digest:
        raise FedvoiceError(
            ErrorCode.BAD_PACKAGE,
            where=f"task {manifest.name}, frozen tensors",
            got=str(frozen or "none but those that the model's class makes, which are others"),
            wanted=f"{FROZEN_FILE} of the task's package, or the checkpoint that it was made of",
            next_step="Give the package's folder.",
        )

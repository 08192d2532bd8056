"""Checkpoints of other people: safetensors and torch files, and the weights that a task takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.seeds import Seeds, WeightsMap, shortened, take_seeds
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

NESTED_UNDER = ("state_dict", "model_state_dict", "model", "weights", "module")
"""Where trainers put a model's tensors beside their own state, in the order of trial."""
DEEPEST = 3
"""Tables within tables that are looked into."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, or of what `torch.save` wrote, by name.

    No code of a torch file is run: it is read with `weights_only`.

    Raises:
        FedvoiceError: `not-found`; `bad-package` for a file of another kind, one that needs code,
            or one without tensors.
    """
    if not path.is_file():
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=str(path),
            got="no such file",
            wanted="weights as safetensors, or a torch checkpoint",
            next_step="Check the path.",
        )
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            advice = "The file is damaged or cut short: copy it again."
            raise _unreadable(path, str(error), "a safetensors file", advice) from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files end in errors of any type
        said = str(error).strip()
        raise _unreadable(
            path,
            said.splitlines()[0][:200] if said else type(error).__name__,
            "a torch checkpoint of tensors alone",
            "Where it was made: torch.save(model.state_dict(), FILE), and give that file.",
        ) from error
    return _tensors_of(path, found)


def seed_model(
    model: TaskModel, path: Path, names: WeightsMap, *, allow_partial: bool = False
) -> Seeds:
    """Give a model the weights of a file where it has them: parameters, and what does not train.

    Raises:
        FedvoiceError: as `read_checkpoint`; `wrong-shape` for another shape, and for parameters
            that the file lacks unless `allow_partial`; `bad-package` for whole numbers where
            weights should be; `not-finite`.
    """
    own = model.seedable()
    wanted = {name: tuple(tensor.shape) for name, tensor in own.items()}
    seeds = take_seeds(read_checkpoint(path), names, wanted, where=str(path))
    needed = [name for name in seeds.missing if isinstance(own[name], nn.Parameter)]
    if needed and not (allow_partial and seeds.taken):
        raise _lacking(path, seeds, needed)
    for name, tensor in seeds.taken.items():
        if tensor.is_floating_point() != own[name].is_floating_point() or tensor.is_sparse:
            raise _unreadable(
                path,
                f"{name} in {tensor.dtype}, {tensor.layout}",
                f"a tensor like the model's, {own[name].dtype}, not sparse",
                "Give the model before it was quantised.",
            )
        if not bool(torch.isfinite(tensor).all()):
            raise FedvoiceError(
                ErrorCode.NOT_FINITE,
                where=f"{path}, {name}",
                got="NaN or infinity among the weights",
                wanted="finite weights",
                next_step="Take an earlier checkpoint.",
            )
    model.take({n: t.detach().to(own[n].dtype) for n, t in seeds.taken.items()})
    return seeds


def _tensors_of(path: Path, found: Any, depth: int = 0) -> dict[str, Tensor]:
    if isinstance(found, Mapping):
        tensors = {str(name): t for name, t in found.items() if isinstance(t, Tensor)}
        nested = next((found[key] for key in NESTED_UNDER if _is_table(found.get(key))), None)
        if nested is not None and depth < DEEPEST:
            return _tensors_of(path, nested, depth + 1)
        if tensors:
            return tensors
    keys = shortened(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
    raise _unreadable(
        path,
        keys or "nothing",
        f"tensors by name, on top or under {', '.join(NESTED_UNDER)}",
        "Save the model's state dict alone, and give that file.",
    )


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) > 0


def _lacking(path: Path, seeds: Seeds, needed: list[str]) -> FedvoiceError:
    partial = "or --allow-partial-weights, which leaves these at their initial values"
    names = f"; the file also has {shortened(seeds.unused)}" if seeds.unused else ""
    return FedvoiceError(
        ErrorCode.WRONG_SHAPE,
        where=str(path),
        got=f"nothing for {shortened(needed)}{names}",
        wanted="all parameters of the model",
        next_step="Give --weights-map FILE with the file's names of them"
        + (f", {partial}." if seeds.taken else "."),
    )


def _unreadable(path: Path, got: str, wanted: str, next_step: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_PACKAGE, where=str(path), got=got, wanted=wanted, next_step=next_step
    )

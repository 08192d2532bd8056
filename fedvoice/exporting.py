"""Task packages from Python: `export_task` of settings, `export` of a module."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.notes import Note
from fedvoice.protocol.settings import validated
from fedvoice.protocol.task import TaskManifest, load_package

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fedvoice.data.dataset import Dataset
    from fedvoice.model_export.config import ExportConfig
    from fedvoice.model_export.seeds import WeightsMap

_log = logging.getLogger("fedvoice.export")


def export_task(
    task: Mapping[str, Any],
    out: Path | str,
    *,
    dataset: Dataset | None = None,
    weights: Path | str | None = None,
    weights_map: Path | str | Mapping[str, Any] | None = None,
    allow_partial_weights: bool = False,
    progress: Note = lambda what: None,
) -> TaskManifest:
    """Export a model as a task package that phones can train; its manifest.

    Args:
        task: tables as `fedvoice export` reads them: name, model, vocabulary, buckets, features,
            plan.
        out: a new folder.
        dataset: completes the vocabulary and the buckets.
        weights: safetensors or torch file to start from, in place of random ones. What of it is
            not used, and what stays random, is logged as a warning.
        weights_map: the file's names of the model's parameters: a TOML file, or its table
            `{"names": {"encoder.*": "model.encoder.*"}, "transpose": [...]}`.
        allow_partial_weights: go on though the file lacks some parameters.

    Raises:
        FedvoiceError: `bad-config`, `exists`, `gradient-check`, `wrong-shape` for weights that are
            not the model's, and what reading the dataset and the weights gives.
    """
    from fedvoice.data.dataset import naming
    from fedvoice.model_export.brought import with_front_end
    from fedvoice.model_export.config import parse_config, vocabulary_of
    from fedvoice.model_export.package import export_task as export

    fields = with_front_end({"name": "task", **task})
    if dataset is not None:
        with naming(dataset):
            fields |= dataset.task_defaults(fields, vocabulary_of)
    summary = export(
        parse_config(fields, "export_task"),
        Path(out),
        weights=None if weights is None else Path(weights),
        weights_map=_names(weights_map),
        allow_partial_weights=allow_partial_weights,
        progress=progress,
    )
    if summary.seeds is not None and (summary.seeds.missing or summary.seeds.unused):
        _log.warning("%s: %s", weights, "; ".join(summary.seeds.lines()))
    return load_package(Path(out)).manifest


def export(
    module: nn.Module | type[nn.Module] | str,
    example_batch: Mapping[str, Tensor],
    out: Path | str,
    *,
    vocabulary: Sequence[str],
    settings: Mapping[str, Any] | None = None,
    task: Mapping[str, Any] | None = None,
    progress: Note = lambda what: None,
) -> TaskManifest:
    """Export a module as a task package for batches of the example's sizes; its manifest.

    Args:
        module: a class, or `package.module:Class`; or one made of it, whose weights the package
            then begins with. See `fedvoice.module_kind` for what it must have.
        example_batch: `features` float32 [B, T, I] or `waveform` float32 [B, N], and `targets`
            [B, U] or `label` [B].
        out: a new folder.
        vocabulary: the tokens 1, 2, ... in order; 0 is the blank.
        settings: arguments of its constructor, beside `input_size` and `vocabulary_size`.
        task: further tables of `export_task`: features, plan, vocabulary.kind.

    Raises:
        FedvoiceError: as `export_task`; `bad-config` for an example without sizes, or a module that
            `settings` do not make again.
    """
    from torch import nn

    from fedvoice.model_export.config import parse_config
    from fedvoice.model_export.kinds import MODEL_KINDS
    from fedvoice.model_export.package import export_task as export_package

    given = module if isinstance(module, nn.Module) else None
    factory = type(module) if isinstance(module, nn.Module) else module
    rows, frames, features, labels = _sizes(example_batch)
    further = dict(task or {})
    own = {"name": MODEL_KINDS.name_of(factory).rpartition(":")[2].lower()}
    fields = {
        **own,
        **further,
        "model": {"kind": MODEL_KINDS.name_of(factory), **(settings or {})},
        "features": {**features, **further.get("features", {})},
        "vocabulary": {
            "tokens": list(vocabulary),
            "as_given": True,
            **further.get("vocabulary", {}),
        },
        "buckets": [{"frames": frames, "labels": labels, "batch": rows}],
    }
    config = parse_config(fields, "fedvoice.export")
    with TemporaryDirectory(prefix="fedvoice-export-") as folder:
        weights = None if given is None else _saved(given, config, Path(folder))
        export_package(config, Path(out), weights=weights, progress=progress)
    return load_package(Path(out)).manifest


def _names(weights_map: Path | str | Mapping[str, Any] | None) -> WeightsMap | None:
    from fedvoice.model_export.seeds import WeightsMap, read_weights_map

    if weights_map is None:
        return None
    if not isinstance(weights_map, Mapping):
        return read_weights_map(Path(weights_map))
    return validated(
        WeightsMap,
        dict(weights_map),
        "export_task, weights_map",
        wanted='{"names": {"encoder.*": "model.encoder.*"}}',
        next_step="Correct the table; docs/seeds-and-releases.md has an example.",
    )


def _sizes(batch: Mapping[str, Tensor]) -> tuple[int, int, dict[str, Any], int]:
    """B, T or N, the front end and U of an example."""
    targets = batch.get("targets")
    labels = 1 if targets is None else targets.shape[1]
    features, waveform = batch.get("features"), batch.get("waveform")
    labelled = bool({"targets", "label"} & set(batch))
    if waveform is not None and waveform.dim() == 2 and features is None and labelled:
        return (*waveform.shape, {"kind": "waveform"}, labels)
    if features is None or waveform is not None or features.dim() != 3 or not labelled:
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in batch.items())
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="fedvoice.export, example_batch",
            got=shapes or "nothing",
            wanted="features [B, T, I] or waveform [B, N], and targets [B, U] or label [B]",
            next_step="Give a batch as large as a phone's largest.",
        )
    rows, frames, size = features.shape
    return rows, frames, {"mel_bins": size, "stack": 1}, labels


def _saved(module: nn.Module, config: ExportConfig, folder: Path) -> Path:
    """The module's parameters and buffers as a file that an export begins with."""
    from safetensors.torch import save_file

    from fedvoice.model_export.fresh import new_model
    from fedvoice.protocol.task import WEIGHTS_FILE

    own = new_model(config, config.vocabulary.build().size).seedable()
    wanted = {name: tuple(tensor.shape) for name, tensor in own.items()}
    given = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    tensors = {n: t.detach().contiguous().clone() for n, t in given.items() if n in wanted}
    got = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if got != wanted:
        name = next(name for name, shape in wanted.items() if got.get(name) != shape)
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=f"fedvoice.export, {config.model.kind}",
            got=f"{name} of shape {got.get(name, 'none')}",
            wanted=f"{wanted[name]}, as its class makes it with these settings",
            next_step="Give `settings` as the module was made: phones' servers make it anew.",
        )
    save_file(tensors, folder / WEIGHTS_FILE)
    return folder / WEIGHTS_FILE

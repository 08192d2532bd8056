"""A task from a module that somebody brings: what they do not say is taken from its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedvoice.model_export.kinds import kind_named
from fedvoice.model_export.kinds.module import ModuleKind
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.features import LOG_MEL_SIZES, FeatureKind


def with_front_end(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A task's tables with features of kind waveform, where its module takes recordings and its
    `forward` takes `waveform`, and nothing is said of log-mel."""
    model, features = fields.get("model"), fields.get("features", {})
    name = model.get("kind") if isinstance(model, Mapping) else None
    if not isinstance(name, str) or not isinstance(features, Mapping):
        return dict(fields)  # what is wrong with it is told where all is read
    try:
        kind = kind_named(name)
    except FedvoiceError:
        return dict(fields)
    takes = isinstance(kind, ModuleKind) and kind.takes_audio and kind.takes_waveform
    if not takes or {"kind", *LOG_MEL_SIZES} & set(features):
        return dict(fields)
    return {**fields, "features": {"kind": FeatureKind.WAVEFORM.value, **features}}


def with_module(
    fields: Mapping[str, Any], module: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """An export's tables with `module` as the model; tables that `fields` has go before those that
    the class implies.

    Args:
        module: `package.module:Class`.
        settings: what its constructor takes.

    Raises:
        FedvoiceError: `bad-plugin` for a name that is no module's.
    """
    kind = kind_named(module)
    if not isinstance(kind, ModuleKind):
        raise FedvoiceError(
            ErrorCode.BAD_PLUGIN,
            where=f"--module {module}",
            got="a model kind of fedvoice's own",
            wanted="a class of yours as package.module:Class",
            next_step="Name kinds of fedvoice's own in a file: [model] kind = ..., --config FILE.",
        )
    if not kind.takes_audio:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=f"--module {module}",
            got="a module that does not say that it takes recordings",
            wanted="takes_audio = True in its class, since a manifest lists recordings",
            next_step="Add it; for other examples use `fedvoice.export_task` with a dataset.",
        )
    implied = kind.task_defaults()
    tables = {table: implied[table] | dict(fields.get(table, {})) for table in implied}
    name = module.partition(":")[2].lower() or module
    return {"name": name, **fields, **tables, "model": {"kind": module, **settings}}

"""An experiment's file as unvalidated tables: `extends` applied, relative paths resolved."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.settings import read_toml

_PATHS = ("data.manifest", "data.folder", "task.vocabulary.manifest", "task.weights")
"""Settings that are paths."""
_FILE = "an experiment's TOML file"


def read_fields(path: Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A TOML file's tables, its `base` merged over that of the file that it extends. Paths of
    corpora and of vocabularies, also in arms and grids, are relative to the folder of the file
    that holds them.

    Args:
        overrides: dotted settings of `base` from the command line.

    Raises:
        FedvoiceError: `not-found`, `bad-config`.
    """
    fields = read_toml(path, wanted=_FILE, next_step="Start from one of the files in experiments/.")
    fields = _extended(fields, path, (path,))
    for name, value in (overrides or {}).items():
        set_dotted(fields, f"base.{name}", value)
    return fields


def set_dotted(fields: dict[str, Any], name: str, value: Any) -> None:
    """fields["a"]["b"] = value for name "a.b"; intermediate tables are created.

    Raises:
        FedvoiceError: `bad-config` if an intermediate value is not a table.
    """
    *tables, last = name.split(".")
    for table in tables:
        inner = fields.setdefault(table, {})
        if not isinstance(inner, dict):
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where=f"setting {name}",
                got=f"{table} = {str(inner)[:80]}",
                wanted=f"{table} as a table",
                next_step="Correct the setting's name.",
            )
        fields = inner
    # Points of the grid modify a table that an arm sets: each needs its own copy.
    fields[last] = copy.deepcopy(value)


def laid_over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two tables recursively; other values of `over` replace those of the first."""
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        if isinstance(below, dict) and isinstance(value, dict):
            value = laid_over(below, value)
        merged[name] = value
    return merged


def _extended(fields: dict[str, Any], path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    """`fields` of the file `path` without `extends`. chain: the files from the first one to it."""
    fields = {"base": {}, **fields}
    for name in ("base", "grid"):
        if name in fields:
            fields[name] = _placed(fields[name], path.parent)
    arms = fields.get("arms")
    for arm in arms if isinstance(arms, list) else []:
        for name in {"set", "grid"} & set(arm if isinstance(arm, dict) else ()):
            arm[name] = _placed(arm[name], path.parent)
    base = fields["base"]
    if "extends" in fields:
        under = _base_of_extended(fields.pop("extends"), path, chain)
        if isinstance(base, dict):  # otherwise validation raises
            fields["base"] = laid_over(under, base)
    return fields


def _base_of_extended(name: Any, path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    """`base` of the file that `path` extends."""
    if not isinstance(name, str):
        raise _bad_extends(path, str(name)[:80], "another experiment's file, as text")
    other = path.parent / name
    if other.resolve() in (before.resolve() for before in chain):
        circle = " extends ".join(map(str, (*chain, other)))
        raise _bad_extends(path, circle, "files that extend each other in one direction")
    fields = read_toml(
        other,
        wanted=f"{_FILE}, which {path} extends",
        next_step=f"Correct `extends` in {path}: it is relative to that file.",
    )
    if not isinstance(fields.get("base"), dict):
        raise _bad_extends(path, f"{other}, which has no table [base]", "a file with a [base]")
    base: dict[str, Any] = _extended(fields, other, (*chain, other))["base"]
    return base


def _bad_extends(path: Path, got: str, wanted: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_CONFIG,
        where=f"{path}, field extends",
        got=got,
        wanted=wanted,
        next_step="Extend a file whose [base] this one shares, or leave `extends` out.",
    )


def _placed(value: Any, folder: Path, name: str = "") -> Any:
    """The value of the dotted setting `name`, or of a grid a list of them, with the paths in it
    relative to `folder`."""
    if isinstance(value, dict):
        inner = f"{name}." if name else ""
        return {key: _placed(own, folder, inner + key) for key, own in value.items()}
    if isinstance(value, list):
        return [_placed(own, folder, name) for own in value]
    return str(folder / value) if name in _PATHS and isinstance(value, str) else value

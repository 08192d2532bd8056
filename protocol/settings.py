"""Settings files: reading TOML, and naming the first field that is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

_SHOWN_AT_MOST = 80
"""Maximum length of a wrong value in a message, in characters."""


def read_toml(path: Path, *, wanted: str, next_step: str) -> dict[str, Any]:
    """The tables of a TOML file, not yet validated.

    Args:
        wanted: what sort of file, for a person: "a simulation's TOML file".
        next_step: what to do if there is none.

    Raises:
        FedvoiceError: `not-found`; `bad-config` with the line that is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=str(path),
            got=str(error.strerror or error),
            wanted=wanted,
            next_step=next_step,
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=str(path),
            got=str(error),
            wanted=f"{wanted}, in valid TOML",
            next_step="Correct the line named.",
        ) from error


def parse_settings(given: Sequence[str]) -> dict[str, Any]:
    """`name=value` as dotted name -> value; values are TOML, or plain words.

    Raises:
        FedvoiceError: `bad-config` without an equals sign.
    """
    parsed: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where=f"--set {text}",
                got="no equals sign",
                wanted="name=value, e.g. server.rounds=8",
                next_step="Give it so; --set may be repeated.",
            )
        try:
            parsed[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed[name.strip()] = value
    return parsed


M = TypeVar("M", bound=BaseModel)


def validated(
    model: type[M],
    fields: object,
    where: str,
    *,
    wanted: str,
    next_step: str,
    code: ErrorCode = ErrorCode.BAD_CONFIG,
) -> M:
    """Validate `fields` as `model`; errors as `wrong_field` gives them. Bytes are parsed as JSON.

    Raises:
        FedvoiceError: `code`.
    """
    try:
        if isinstance(fields, bytes):
            return model.model_validate_json(fields)
        return model.model_validate(fields)
    except ValidationError as error:
        raise wrong_field(where, error, wanted=wanted, next_step=next_step, code=code) from error


def wrong_field(
    where: str,
    error: ValidationError,
    *,
    wanted: str,
    next_step: str,
    code: ErrorCode = ErrorCode.BAD_CONFIG,
) -> FedvoiceError:
    """The first field that pydantic refuses: its dotted name, its value and why.

    Args:
        where: the file or message that the fields are of.
        wanted: what the fields should be, for a person: "a server setting".
    """
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    got = first["msg"]
    # For missing or conflicting fields pydantic gives the enclosing table as the input.
    if field and first["type"] != "missing":
        got = f"{str(first['input'])[:_SHOWN_AT_MOST]} ({got})"
    return FedvoiceError(
        code,
        where=f"{where}, field {field}" if field else f"{where}, as a whole",
        got=got,
        wanted=wanted,
        next_step=next_step,
    )

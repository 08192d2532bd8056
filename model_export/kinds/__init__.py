"""Model kinds, one object a file; the registry of the group `fedvoice.model_kinds`.

Settings name a kind: one that is built in, registered or installed, or `module:name`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import SerializeAsAny, TypeAdapter, ValidationError, WrapValidator
from pydantic_core import InitErrorDetails

from fedvoice.model_export.kinds.base import KindConfig, ModelKind, Setting
from fedvoice.protocol.registry import Registry

if TYPE_CHECKING:
    from fedvoice.model_export.models.base import TaskModel

MODEL_KINDS: Registry[Any] = Registry(
    "model kind",
    "fedvoice.model_kinds",
    {
        "rnnt": "fedvoice.model_export.kinds.rnnt:RNNT",
        "ctc": "fedvoice.model_export.kinds.ctc:CTC",
        "2nn": "fedvoice.model_export.kinds.two_layer:TWO_LAYER",
        "cnn": "fedvoice.model_export.kinds.cnn:CNN",
        "char-lstm": "fedvoice.model_export.kinds.char_lstm:CHAR_LSTM",
    },
)
"""By name: a `ModelKind`, or an object that `kinds.module.as_kind` converts to one."""


def kind_named(name: str) -> ModelKind[Any]:
    """The kind that `name` means.

    Raises:
        FedvoiceError: `bad-plugin` if it is unknown, cannot be imported or is no model kind.
    """
    found = MODEL_KINDS.get(name)
    if isinstance(found, ModelKind):
        return found
    from fedvoice.model_export.kinds.module import as_kind

    return as_kind(name, found)


def kind_of(config: KindConfig) -> ModelKind[Any]:
    """The kind whose settings these are."""
    return kind_named(config.kind)


def _of_its_kind(value: Any, handler: Callable[[Any], KindConfig]) -> KindConfig:
    if not isinstance(value, dict):
        return handler(value)
    name = value.get("kind")
    if not isinstance(name, str):
        return handler(value)
    if ":" not in name and name not in MODEL_KINDS.names():
        raise ValueError(
            f"kind {name!r}: wanted one of {', '.join(MODEL_KINDS.names())}, or module:name"
        )
    try:
        config: type[KindConfig] = kind_named(name).config
        return config.model_validate(value)
    except ValidationError as error:
        raise _within(name, error) from error


def _within(name: str, error: ValidationError) -> ValidationError:
    """The same errors, their fields below the kind's name: `model.rnnt.encoder.layers`."""
    lines = [
        InitErrorDetails(
            type=line["type"],
            loc=(name, *line["loc"]),
            input=line["input"],
            ctx=line.get("ctx", {}),
        )
        for line in error.errors(include_url=False)
    ]
    return ValidationError.from_exception_data(error.title, lines)


ModelConfig = Annotated[SerializeAsAny[KindConfig], WrapValidator(_of_its_kind)]
"""Settings of the model kind that they name."""


def to_settings(config: KindConfig) -> dict[str, Setting]:
    """The flat form of a task manifest: `encoder.layers`, ..., without the kind."""
    settings: dict[str, Setting] = {}
    for name, value in config.model_dump(exclude={"kind"}).items():
        if isinstance(value, dict):
            settings |= {f"{name}.{inner}": setting for inner, setting in value.items()}
        else:
            settings[name] = value
    return settings


def from_settings(kind: str, settings: dict[str, Setting]) -> KindConfig:
    """The inverse of `to_settings`.

    Raises:
        pydantic.ValidationError: unknown kind or field.
    """
    fields: dict[str, Any] = {}
    for key, setting in settings.items():
        name, dot, inner = key.partition(".")
        if dot:
            fields.setdefault(name, {})[inner] = setting
        else:
            fields[name] = setting
    adapter: TypeAdapter[KindConfig] = TypeAdapter(ModelConfig)
    return adapter.validate_python({"kind": kind, **fields})


def build_model(config: KindConfig, input_size: int, vocabulary_size: int) -> TaskModel:
    """See `ModelKind.build`: seed torch's generator for reproducible weights."""
    return kind_of(config).build(config, input_size, vocabulary_size)

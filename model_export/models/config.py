"""Sizes of the models, as data."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Setting = int | float | bool | str


class EncoderConfig(BaseModel):
    """Stack of LSTM layers over stacked log-mel frames."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: int = Field(default=2, ge=1, le=12)
    hidden_size: int = Field(default=320, ge=1)
    bidirectional: bool = False

    @property
    def output_size(self) -> int:
        """Values a frame that the last layer gives."""
        return self.hidden_size * (2 if self.bidirectional else 1)


class RnntConfig(BaseModel):
    """LSTM transducer: encoder, prediction LSTM, tanh joint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["rnnt"] = "rnnt"
    encoder: EncoderConfig = EncoderConfig()
    embedding_size: int = Field(default=256, ge=1)
    predictor_size: int = Field(default=256, ge=1)
    joint_size: int = Field(default=256, ge=1)
    max_symbols_per_frame: int = Field(default=3, ge=1, le=10)
    """Greedy decoding emits at most this many symbols before it moves to the next frame."""


class CtcConfig(BaseModel):
    """LSTM encoder with one linear layer on top."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["ctc"] = "ctc"
    encoder: EncoderConfig = EncoderConfig()


class TwoLayerConfig(BaseModel):
    """Two equal hidden layers with ReLU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["2nn"] = "2nn"
    hidden_size: int = Field(default=200, ge=1)


class CharLstmConfig(BaseModel):
    """Embedding of characters and a stack of LSTM layers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["char-lstm"] = "char-lstm"
    embedding_size: int = Field(default=8, ge=1)
    hidden_size: int = Field(default=256, ge=1)
    layers: int = Field(default=2, ge=1, le=12)


class CnnConfig(BaseModel):
    """Two convolutions with pooling and a dense layer, on square images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["cnn"] = "cnn"
    channels1: int = Field(default=32, ge=1)
    channels2: int = Field(default=64, ge=1)
    dense_size: int = Field(default=512, ge=1)


ModelConfig = Annotated[
    RnntConfig | CtcConfig | TwoLayerConfig | CharLstmConfig | CnnConfig,
    Field(discriminator="kind"),
]


def to_settings(config: ModelConfig) -> dict[str, Setting]:
    """The flat form of a task manifest: `encoder.layers`, ..., without the kind."""
    settings: dict[str, Setting] = {}
    for name, value in config.model_dump(exclude={"kind"}).items():
        if isinstance(value, dict):
            settings |= {f"{name}.{inner}": setting for inner, setting in value.items()}
        else:
            settings[name] = value
    return settings


def from_settings(kind: str, settings: dict[str, Setting]) -> ModelConfig:
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
    adapter: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)
    return adapter.validate_python({"kind": kind, **fields})

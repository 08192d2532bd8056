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


ModelConfig = Annotated[RnntConfig | CtcConfig, Field(discriminator="kind")]

_ENCODER = "encoder."


def to_settings(config: ModelConfig) -> dict[str, Setting]:
    """The flat form of a task manifest: `encoder.layers`, ..., without the kind."""
    fields = config.model_dump(exclude={"kind", "encoder"})
    encoder = {_ENCODER + name: value for name, value in config.encoder.model_dump().items()}
    return encoder | fields


def from_settings(kind: str, settings: dict[str, Setting]) -> ModelConfig:
    """The inverse of `to_settings`.

    Raises:
        pydantic.ValidationError: unknown kind or field.
    """
    fields: dict[str, Any] = {k: v for k, v in settings.items() if not k.startswith(_ENCODER)}
    fields["encoder"] = {
        k.removeprefix(_ENCODER): v for k, v in settings.items() if k.startswith(_ENCODER)
    }
    adapter: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)
    return adapter.validate_python({"kind": kind, **fields})

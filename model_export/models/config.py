"""Sizes of the models, as data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


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

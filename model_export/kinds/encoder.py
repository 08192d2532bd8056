"""The encoder that transducer and CTC models share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class EncoderConfig(BaseModel):
    """Stack of LSTM layers over stacked log-mel frames."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: int = Field(default=2, ge=1, le=12)
    hidden_size: int = Field(default=320, ge=1)
    bidirectional: bool = False

    def check_streams(self) -> None:
        """Raise ValueError, saying what to do, for an encoder that needs what comes later."""
        if self.bidirectional:
            raise ValueError(
                "a bidirectional encoder cannot recognise chunk by chunk, since it reads an "
                "utterance from its end, too: set model.encoder.bidirectional = false and train "
                "such a model, or leave out the table [streaming]"
            )

    @property
    def output_size(self) -> int:
        """Values a frame that the last layer gives."""
        return self.hidden_size * (2 if self.bidirectional else 1)

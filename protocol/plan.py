"""The training plan: how a phone trains, as data.

The same fields exist as message `Plan` of `fedvoice.proto`; this is the validated form that
configurations are read into and that trainers are given.
"""

from __future__ import annotations

from google.protobuf import json_format
from pydantic import BaseModel, ConfigDict, Field, field_validator

from protocol.codec import ENCODINGS
from protocol.generated import fedvoice_pb2 as pb


class SpecAugment(BaseModel):
    """Masks on unstacked log-mel features (Park et al. 2019); all zero: no masking."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time_masks: int = Field(default=0, ge=0)
    time_mask_frames: int = Field(default=0, ge=0)
    frequency_masks: int = Field(default=0, ge=0)
    frequency_mask_bins: int = Field(default=0, ge=0)


class TrainingPlan(BaseModel):
    """Local training on one phone in one round."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    local_epochs: int = Field(default=1, ge=1)
    """e."""
    batch_size: int = Field(default=8, ge=0)
    """b; 0: all local examples in one batch."""
    data_limit: int = Field(default=0, ge=0)
    """L, examples used in a round at most, drawn afresh each round; 0: no limit."""
    client_rate: float = Field(default=0.3, gt=0)
    client_momentum: float = Field(default=0.0, ge=0, lt=1)
    clip_norm: float = Field(default=5.0, ge=0)
    """Global norm to which the gradient is clipped; 0: no clipping (it diverges from scratch)."""
    fvn_std: float = Field(default=0.0, ge=0)
    spec_augment: SpecAugment = SpecAugment()
    seed: int = Field(default=0, ge=0, lt=2**64)
    update_encoding: str = "float32"
    max_update_norm: float = Field(default=0.0, ge=0)

    @field_validator("update_encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        if value not in ENCODINGS:
            raise ValueError(f"must be one of {', '.join(ENCODINGS)}")
        return value

    def to_message(self) -> pb.Plan:
        """The wire form."""
        return json_format.ParseDict(self.model_dump(), pb.Plan())

    @classmethod
    def from_message(cls, message: pb.Plan) -> TrainingPlan:
        """From the wire; unset fields take the defaults above where zero is not a value."""
        fields = json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        fields["seed"] = int(fields["seed"])
        for name in ("local_epochs", "client_rate", "update_encoding"):
            if not fields[name]:
                del fields[name]
        return cls.model_validate(fields)

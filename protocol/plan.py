"""The training plan: how a phone trains, as data.

The same fields exist as message `Plan` of `fedvoice.proto`; this is the validated form that
configurations are read into and that trainers are given.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from fedvoice.protocol.codec import ENCODINGS
from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
)
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import (
    ParameterSpec,
    ParameterTable,
)
from fedvoice.protocol.settings import validated

_LATER = frozenset({"clip_per_layer", "fvn_relative", "trainable", "prox_mu"})
"""Knobs that the first phones do not know."""


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
    """Norm to which the gradient is clipped; 0: no clipping (it diverges from scratch)."""
    fvn_std: float = Field(default=0.0, ge=0)
    spec_augment: SpecAugment = SpecAugment()
    seed: int = Field(default=0, ge=0, lt=2**64)
    update_encoding: str = "float32"
    max_update_norm: float = Field(default=0.0, ge=0)
    """Norm to which a larger delta is scaled down; 0: no bound."""
    clip_per_layer: bool = False
    """Both bounds hold parameter by parameter: of size_i floats of the P that train, its norm is
    kept within sqrt(size_i / P) of the bound, so all of them together within the bound."""
    fvn_relative: bool = False
    """`fvn_std` is multiplied by the root mean square of each parameter's initial weights."""
    trainable: tuple[str, ...] = ()
    """Prefixes of the names of the parameters that train; the others stay. Empty: all train."""
    prox_mu: float = Field(default=0.0, ge=0)
    """mu of FedProx (Li et al. 2018): pulls the weights back to where the round began."""

    @field_validator("update_encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        if value not in ENCODINGS:
            raise ValueError(f"must be one of {', '.join(ENCODINGS)}")
        return value

    @model_serializer(mode="wrap")
    def _without_unused_knobs(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A package that does not use them can be read by a phone that does not know them.
        usual = type(self).model_fields
        fields: dict[str, Any] = plain(self)
        return {k: v for k, v in fields.items() if k not in _LATER or v != usual[k].default}

    def to_message(self) -> pb.Plan:
        """The wire form."""
        return json_format.ParseDict(self.model_dump(mode="json"), pb.Plan())

    @classmethod
    def from_message(cls, message: pb.Plan) -> TrainingPlan:
        """From the wire; unset fields take the defaults above where zero is not a value.

        Raises:
            FedvoiceError: `bad-config` for a value out of its range.
        """
        fields = json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        fields["seed"] = int(fields["seed"])
        for name in ("local_epochs", "client_rate", "update_encoding"):
            if not fields[name]:
                del fields[name]
        return validated(
            cls,
            fields,
            "the round's plan",
            wanted="a plan that this version of fedvoice can follow",
            next_step="Correct the server's plan, or update the phone.",
        )


def trained_parameters(plan: TrainingPlan, table: ParameterTable) -> tuple[ParameterSpec, ...]:
    """The parameters that train under `plan`, in table order.

    Raises:
        FedvoiceError: `bad-config` if one of `plan.trainable` begins no parameter's name.
    """
    names = [spec.name for spec in table.parameters]
    for prefix in plan.trainable:
        if not any(name.startswith(prefix) for name in names):
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where="the plan, trainable",
                got=f"{prefix!r}, with which no parameter's name begins",
                wanted=f"prefixes of {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}",
                next_step="Take the names from the package's task.json.",
            )
    # An empty tuple of prefixes would match nothing.
    chosen = plan.trainable or ("",)
    return tuple(spec for spec in table.parameters if spec.name.startswith(chosen))


def frozen_parts(plan: TrainingPlan, table: ParameterTable) -> tuple[slice, ...]:
    """Where the parameters that do not train under `plan` lie in the flat vector.

    Raises:
        FedvoiceError: as `trained_parameters`.
    """
    trained = {spec.name for spec in trained_parameters(plan, table)}
    return tuple(spec.place for spec in table.parameters if spec.name not in trained)

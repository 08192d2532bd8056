"""The training plan: how a phone trains, as data.

The same fields exist as message `Plan` of `fedvoice.proto`; this is the validated form that
configurations are read into and that trainers are given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

from google.protobuf import json_format
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from fedvoice.protocol.codec import ENCODINGS
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import ParameterSpec, ParameterTable
from fedvoice.protocol.settings import validated

_LATER = frozenset(
    {
        "clip_per_layer",
        "fvn_relative",
        "trainable",
        "prox_mu",
        "client_rule",
        "client_rule_options",
    }
)
"""Knobs that the first phones do not know."""

RuleOption = bool | int | Annotated[float, Field(allow_inf_nan=False)] | str


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
    client_rule: str = ""
    """The rule (`algorithm.client_rules`) that steps in place of SGD with momentum, by name; empty:
    none. `client_rate` means nothing to it: what it needs to know is in its options."""
    client_rule_options: tuple[tuple[str, RuleOption], ...] = ()
    """What the rule is made with, in order of name; read from a table and written as one."""

    @field_validator("update_encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        if value not in ENCODINGS:
            raise ValueError(f"must be one of {', '.join(ENCODINGS)}")
        return value

    @field_validator("client_rule_options", mode="before")
    @classmethod
    def _pairs_of_a_table(cls, value: Any) -> Any:
        # By the text of names: a table of a script may have others, which are refused below.
        return tuple(sorted(value.items(), key=str)) if isinstance(value, Mapping) else value

    @field_serializer("client_rule_options")
    def _table_of_pairs(self, value: tuple[tuple[str, RuleOption], ...]) -> dict[str, RuleOption]:
        return dict(value)

    @model_validator(mode="after")
    def _rule_alone(self) -> TrainingPlan:
        if self.client_rule_options and not self.client_rule:
            raise ValueError("client_rule_options need a client_rule")
        if self.client_rule and self.client_momentum:
            raise ValueError("client_momentum means nothing to a client_rule: use its options")
        return self

    @model_serializer(mode="wrap")
    def _without_unused_knobs(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A package that does not use them can be read by a phone that does not know them.
        usual = type(self).model_fields
        fields: dict[str, Any] = plain(self)
        return {
            k: v
            for k, v in fields.items()
            if k not in _LATER or (v != usual[k].default and v != {})
        }

    def to_message(self) -> pb.Plan:
        """The wire form."""
        fields = self.model_dump(mode="json")
        if "client_rule_options" in fields:
            fields["client_rule_options"] = json.dumps(fields["client_rule_options"])
        return json_format.ParseDict(fields, pb.Plan())

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
        options = fields["client_rule_options"]
        # What is no JSON stays text, which is no table.
        with suppress(ValueError):
            fields["client_rule_options"] = json.loads(options or "{}")
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

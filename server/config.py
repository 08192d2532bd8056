"""Everything that can be set about a server, validated when it is read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from protocol.plan import TrainingPlan
from protocol.settings import read_toml, wrong_field
from server.plan_schedule import PlanSchedule
from server.rates import RateSchedule

GRID_HEADROOM_BITS = 62
"""Sums of weighted grid values stay within +-2^62, one bit below what int64 holds."""


class OptimizerConfig(RateSchedule):
    """The server optimiser (`server/optimizers.py` has the formulas) and its rate's schedule."""

    name: Literal["sgd", "adam", "yogi", "adagrad", "lamb"] = "sgd"
    rate: float = Field(default=0.5, gt=0)
    """LAMB's is the part of a parameter's norm that a round moves it by: far smaller."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """beta of SGD; the others do not use it."""
    betas: tuple[float, float] = (0.9, 0.99)
    """b1, b2; SGD uses neither, Adagrad not the second."""
    epsilon: float = Field(default=1e-3, gt=0)
    """tau of FedOpt: the degree of adaptivity."""

    @model_validator(mode="after")
    def _betas_below_one(self) -> OptimizerConfig:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must lie in [0, 1)")
        return self


class Gates(BaseModel):
    """Conditions a phone must be in to be given work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    charging: bool = True
    idle: bool = True
    unmetered: bool = True
    overridable: bool = True
    """Whether a person who asks their phone for a session now gets work whatever its state."""


class RetryConfig(BaseModel):
    """Pace steering: when a phone without work is told to call again.

    The window starts at the expected end of the round, held between `least_secs` and `most_secs`,
    and is `spread` times as wide as it is far away, so that phones do not come back together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_secs: float = Field(default=5.0, gt=0)
    most_secs: float = Field(default=600.0, gt=0)
    spread: float = Field(default=0.5, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> RetryConfig:
        if self.most_secs < self.least_secs:
            raise ValueError("most_secs must be at least least_secs")
        return self


class ServerConfig(BaseModel):
    """One federated job on one server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounds: int = Field(default=10, ge=0)
    """R: training rounds tried; an abandoned one counts and leaves the weights as they were."""
    cohort_size: int = Field(default=10, ge=1)
    """K: accepted updates at which a round ends by goal."""
    over_selection: float = Field(default=1.0, ge=1)
    """Phones asked per update wanted; 1.3 covers the 6-10% that drop out (Bonawitz 2019)."""
    min_fraction: float = Field(default=0.5, gt=0, le=1)
    """Part of the goal that is enough when the time is up; with less the round is abandoned."""
    round_timeout_secs: float = Field(default=600.0, gt=0)
    evaluation_timeout_secs: float = Field(default=600.0, gt=0)
    lease_secs: float = Field(default=300.0, gt=0)
    """A phone reports within this time of its assignment, or its place is given away. Invited
    phones (selection "sampled") have as long to check in."""
    selection: Literal["sampled", "first"] = "sampled"
    """sampled: K of the known phones are drawn, reproducibly; first: whoever checks in."""
    min_population: int = Field(default=0, ge=0)
    """Phones with training examples that must have checked in before a round starts; 0: K."""
    min_test_population: int = Field(default=0, ge=0)
    """Phones with test examples that must have checked in before an evaluation starts."""
    gates: Gates = Gates()
    plan: TrainingPlan | None = None
    """None: the task package's plan."""
    plan_schedule: PlanSchedule = PlanSchedule()
    """What changes of the plan from round to round."""
    optimizer: OptimizerConfig = OptimizerConfig()
    evaluate_every: int = Field(default=0, ge=0)
    """Rounds between evaluations on all phones with test examples; 0: never. If not 0 the last
    round is evaluated too."""
    evaluate_first: bool = False
    """Also evaluate the initial weights, as round 0."""
    seed: int = Field(default=0, ge=0, lt=2**64)
    alpha: float = Field(default=1.0, ge=0)
    """Weight of computation in CFMQ."""
    grid_bits: int = Field(default=32, ge=8, le=48)
    """Updates are rounded to multiples of 2^-grid_bits before they are summed."""
    max_update_abs: float = Field(default=16.0, gt=0)
    """Largest absolute value of one element of an update."""
    max_update_norm: float = Field(default=0.0, ge=0)
    """Largest L2 norm of an update; 0: no bound."""
    max_client_examples: int = Field(default=65536, ge=1)
    """Largest n_k."""
    quota_bytes: int = Field(default=8 * 1024**3, gt=0)
    """Disk that blobs and payloads may take; safetensors of past rounds are not counted."""
    retry: RetryConfig = RetryConfig()
    bind: str = "127.0.0.1:8700"
    """Address and port; port 0 takes a free one. Phones need a certificate there."""
    enrol_bind: str = ""
    """Where phones get their certificate; default: the host of `bind` and its port + 1."""
    names: tuple[str, ...] = ()
    """Further host names and addresses under which phones call this server."""
    insecure: bool = False
    """No TLS and no certificates: for one machine."""
    chunk_timeout_secs: float = Field(default=30.0, gt=0)
    """An upload that brings nothing for so long is ended; the phone resumes it later."""
    handler_threads: int = Field(default=4, ge=1)
    """Calls served at once. The others wait under flow control, which bounds the memory."""

    @field_validator("bind", "enrol_bind")
    @classmethod
    def _address(cls, bind: str, info: ValidationInfo) -> str:
        # gRPC would take 99999 modulo 65536, and a missing host for a name.
        host, _, port = bind.rpartition(":")
        if bind.startswith("unix:") or (info.field_name == "enrol_bind" and not bind):
            return bind
        if not (host and port.isdigit() and int(port) < 65536):
            raise ValueError("wanted host:port, the port at most 65535; 0 takes a free one")
        return bind

    @model_validator(mode="after")
    def _can_be_secured(self) -> ServerConfig:
        if self.insecure:
            return self
        if self.bind.startswith("unix:") or self.enrol_bind.startswith("unix:"):
            raise ValueError("TLS needs host:port addresses; a unix: address needs insecure = true")
        if self.bind.endswith(":65535") and not self.enrol_bind:
            raise ValueError("no port is left for enrolment: set enrol_bind too")
        return self

    @property
    def places(self) -> int:
        """Phones asked in a training round."""
        return math.ceil(self.cohort_size * self.over_selection - 1e-9)

    @property
    def population_needed(self) -> int:
        """Phones with training examples that a training round waits for."""
        return self.min_population or self.cohort_size

    @model_validator(mode="after")
    def _sums_fit(self) -> ServerConfig:
        largest = self.max_update_abs * self.max_client_examples * self.places
        if math.log2(largest) + self.grid_bits > GRID_HEADROOM_BITS:
            raise ValueError(
                f"max_update_abs * max_client_examples * phones asked * 2^grid_bits is "
                f"2^{math.log2(largest) + self.grid_bits:.1f}, more than 2^{GRID_HEADROOM_BITS}: "
                f"lower one of them"
            )
        return self


def parse_config(fields: dict[str, Any], where: str) -> ServerConfig:
    """Validate fields read from a file or the command line.

    Raises:
        FedvoiceError: `bad-config` with the first field that is wrong.
    """
    try:
        return ServerConfig.model_validate(fields)
    except ValidationError as error:
        raise wrong_field(
            where,
            error,
            wanted="a server setting",
            next_step="`server/config.py` lists every setting with its meaning.",
        ) from error


def read_config_fields(path: Path) -> dict[str, Any]:
    """The fields of the file that `fedvoice serve --config` names, not yet validated.

    Raises:
        FedvoiceError: `not-found`, `bad-config`.
    """
    return read_toml(
        path, wanted="a server's TOML file", next_step="Check the path given to --config."
    )

"""Settings of the federated algorithm: what a server and a simulation must agree on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fedvoice.algorithm.bounds import MAX_LOSS, MAX_MEMORY_BYTES, MAX_TRAIN_SECS
from fedvoice.algorithm.doors import SERVER_OPTIMIZERS, UPDATE_LINKS
from fedvoice.algorithm.plan_schedule import PlanSchedule
from fedvoice.algorithm.rates import RateSchedule
from fedvoice.protocol.codec import ENCODINGS

GRID_HEADROOM_BITS = 62
"""Sums of weighted grid values stay within +-2^62, one bit below what int64 holds."""


class OptimizerConfig(RateSchedule):
    """The server optimiser (`algorithm/optimizers.py` has the formulas) and its rate's schedule."""

    name: str = "sgd"
    """A built-in one (sgd, adam, yogi, adagrad, lamb), a registered one, or `module:name`."""
    options: Mapping[str, Any] = Field(default_factory=dict)
    """A plug-in optimiser's own options, beside the fields below."""
    rate: float = Field(default=0.5, gt=0)
    """With LAMB the rate is relative to each parameter's norm, so far smaller."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """beta of SGD; the others do not use it."""
    betas: tuple[float, float] = (0.9, 0.99)
    """b1, b2; SGD uses neither, Adagrad not the second."""
    epsilon: float = Field(default=1e-3, gt=0)
    """tau of FedOpt: the degree of adaptivity."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return SERVER_OPTIMIZERS.known(name)

    @model_validator(mode="after")
    def _betas_below_one(self) -> OptimizerConfig:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must lie in [0, 1)")
        return self


class LinkConfig(BaseModel):
    """One link between an update and the exact sum (`algorithm/links.py`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """weight, clip, median, trimmed-mean, a registered one, or `module:name`."""
    options: Mapping[str, Any] = Field(default_factory=dict)
    """Arguments that the link is made with."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return UPDATE_LINKS.known(name)


class AlgorithmConfig(BaseModel):
    """One federated job, whatever drives it: rounds, cohorts, bounds, server optimiser."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounds: int = Field(default=10, ge=0)
    """R: training rounds tried; an abandoned one counts and leaves the weights as they were."""
    cohort_size: int = Field(default=10, ge=1)
    """K: accepted updates at which a round ends by goal."""
    over_selection: float = Field(default=1.0, ge=1)
    """Clients asked per update wanted; 1.3 covers the 6-10% that drop out (Bonawitz 2019)."""
    min_fraction: float = Field(default=0.5, gt=0, le=1)
    """Fraction of the goal that suffices at the deadline; with less the round is abandoned."""
    round_timeout_secs: float = Field(default=600.0, gt=0)
    evaluation_timeout_secs: float = Field(default=600.0, gt=0)
    lease_secs: float = Field(default=300.0, gt=0)
    """A client reports within this time of its assignment, or its place is given away. Invited
    clients (selection "sampled") have as long to check in."""
    selection: Literal["sampled", "first"] = "sampled"
    """sampled: K of the known clients are drawn, reproducibly; first: any that checks in."""
    min_population: int = Field(default=0, ge=0)
    """Clients with training examples that must have checked in before a round starts; 0: K."""
    min_test_population: int = Field(default=0, ge=0)
    """Clients with test examples that must have checked in before an evaluation starts."""
    plan_schedule: PlanSchedule = PlanSchedule()
    """How the plan changes from round to round."""
    links: tuple[LinkConfig, ...] = ()
    """Steps between a checked update and the sum, in order; none: weighted by n_k."""
    optimizer: OptimizerConfig = OptimizerConfig()
    download_encoding: str = "float32"
    """How weights go out: float32, float16, int8, or one of these with +zstd. All clients of a
    round train from the same decoded weights; the server keeps its own in float32
    (`algorithm.reference`)."""
    evaluate_every: int = Field(default=0, ge=0)
    """Rounds between evaluations on all clients with test examples; 0: never. If not 0 the last
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
    max_client_share: float = Field(default=0.25, gt=0, le=1)
    """One client's largest part of a round's weights, of what its cohort declared when the round
    was started (`algorithm.influence`): what is above it is not counted. Not in rounds of fewer
    than five clients; 1: no cap."""
    norm_bound_factor: float = Field(default=10.0, ge=0)
    """Largest norm of an update, in medians of the last rounds' norms (`algorithm.influence`). Not
    in rounds of fewer than five clients, nor before the first one of so many; 0: no bound.

    Schedules of the client rate leave room for honest clients: in a warm-up a round's rate is at
    most twice the median rate of the three before it; after that it falls. A rate that is raised
    further between two runs of a server costs abandoned rounds, each of which doubles the bound.
    Where clients' examples differ a hundredfold and the plan has no `data_limit`, so may their
    norms: raise it."""
    max_loss: float = Field(default=MAX_LOSS, gt=0)
    """Largest absolute value of a client's mean loss."""
    max_memory_bytes: int = Field(default=MAX_MEMORY_BYTES, gt=0, lt=2**63)
    """Most memory that a client may say it planned or measured; by default what phones have."""
    max_train_secs: float = Field(default=MAX_TRAIN_SECS, gt=0)
    """Longest training that a client may say it did."""

    @field_validator("download_encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        if value not in ENCODINGS:
            raise ValueError(f"must be one of {', '.join(ENCODINGS)}")
        return value

    @property
    def places(self) -> int:
        """Clients asked in a training round."""
        return math.ceil(self.cohort_size * self.over_selection - 1e-9)

    @property
    def population_needed(self) -> int:
        """Clients with training examples that a training round waits for."""
        return self.min_population or self.cohort_size

    @model_validator(mode="after")
    def _sums_fit(self) -> AlgorithmConfig:
        largest = self.max_update_abs * self.max_client_examples * self.places
        if math.log2(largest) + self.grid_bits > GRID_HEADROOM_BITS:
            raise ValueError(
                f"max_update_abs * max_client_examples * clients asked * 2^grid_bits is "
                f"2^{math.log2(largest) + self.grid_bits:.1f}, more than 2^{GRID_HEADROOM_BITS}: "
                f"lower one of them"
            )
        return self

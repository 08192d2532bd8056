"""A search as one TOML file: an experiment's base, the space around it, hand-set plans to beat.

name = "tune-words"
[base...], extends     as in an experiment; data.development = true keeps the test sets unseen
[search]               trials, seeds, parallel jobs' patience
[search.space]         "plan.client_rate" = { low = 0.1, high = 2.0, log = true }
                       "plan.data_limit" = { choices = [4, 8, 12] }
[[search.known]]       a hand-set plan as dotted settings; the first one is the plan to beat
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fedvoice.laboratory.experiment.config import checked
from fedvoice.laboratory.experiment.fields import read_fields
from fedvoice.laboratory.experiment.trials import Metric


class Dimension(BaseModel):
    """One setting's range: choices, or numbers between low and high."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: tuple[str | int | float | bool, ...] = ()
    low: float | None = None
    high: float | None = None
    step: float | None = Field(default=None, gt=0)
    log: bool = False
    integer: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> Dimension:
        numbers = self.low is not None and self.high is not None
        if bool(self.choices) == numbers:
            raise ValueError("give either choices, or low and high")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be below high")
        if self.log and (self.step is not None or (self.low or 0) <= 0):
            raise ValueError("a logarithmic range starts above 0 and has no step")
        return self


class SearchConfig(BaseModel):
    """Settings of the search."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int = Field(default=40, ge=1)
    seed: int = 0
    """Seed of the sampler."""
    trial_seed: int = 100
    """Every trial's own seed: plans are compared on the same weights, cohorts and partitions."""
    verify_seeds: tuple[int, ...] = Field(default=(200, 201, 202), min_length=1)
    """Seeds on which the best plan and the first known one are compared in the end."""
    space: dict[str, Dimension] = Field(min_length=1)
    known: tuple[dict[str, Any], ...] = ()
    """Hand-set plans, tried first. Each names every dimension of the space."""
    prune_after: int = Field(default=8, ge=1)
    """Finished trials before any is pruned."""

    @model_validator(mode="after")
    def _known_points(self) -> SearchConfig:
        for point in self.known:
            if set(point) != set(self.space):
                odd = ", ".join(sorted(set(point) ^ set(self.space)))
                raise ValueError(f"a known plan names every dimension and no other: {odd}")
        return self

    @model_validator(mode="after")
    def _fresh_seeds(self) -> SearchConfig:
        if len({self.trial_seed, *self.verify_seeds}) <= len(self.verify_seeds):
            raise ValueError("verify_seeds are different ones, and not the trials' seed")
        return self


class TuningConfig(BaseModel):
    """A whole search."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    title: str = ""
    metric: Metric = "pooled"
    base: dict[str, Any]
    search: SearchConfig


def load_tuning(path: Path, trials: int | None = None) -> TuningConfig:
    """Read a search's TOML file.

    Args:
        trials: used instead of the file's number.

    Raises:
        FedvoiceError: `not-found`, `bad-config` naming the wrong field.
    """
    fields = read_fields(path)
    if trials is not None and isinstance(fields.get("search"), dict):
        fields["search"]["trials"] = trials
    return checked(TuningConfig, fields, str(path))

"""An experiment as one TOML file: what all trials share, the arms, the grid, the seeds.

name = "noniid-gap"
extends = "x.toml"     a file whose [base] is taken first, and this one's laid over it
seeds = [0, 1, 2]
[base.data]    which corpus, and its partition among clients
[base.task]    the model (`fedvoice export` takes the same table)
[base.plan]    how a client trains
[base.server]  rounds, cohort, server optimiser
[[arms]]       name, label, and `set`: dotted settings that differ from the base
[grid]         dotted setting = list of values; every arm is run at every combination
tuned          settings of the grid of which the tables show only the best value
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fedvoice.laboratory.experiment.fields import read_fields, set_dotted
from fedvoice.laboratory.experiment.trials import Metric, Trial, TrialSettings
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.settings import M, validated
from fedvoice.server.config import parse_config


class Arm(BaseModel):
    """One line of an experiment's table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    label: str = ""
    set: dict[str, Any] = {}
    """Dotted settings (data.partition, plan.data_limit, ...) that differ from the base."""
    seeds: tuple[int, ...] = ()
    """Default: the experiment's."""
    grid: dict[str, tuple[Any, ...]] = {}
    """Values for this arm alone, instead of the experiment's for the same setting."""
    reference: float | None = Field(default=None, gt=0)
    """Rounds to the target that a paper reports, shown beside the arm's own."""


class ExperimentConfig(BaseModel):
    """A grid of trials."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    title: str = ""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    metric: Metric = "pooled"
    """The error rate of figures and of `tuned`; tables have others beside it."""
    callbacks: tuple[str | dict[str, Any], ...] = ()
    """Callbacks of every trial: names, or tables `{ name, ...options }`."""
    base: dict[str, Any]
    arms: tuple[Arm, ...] = Field(default=(Arm(name="all"),), min_length=1)
    grid: dict[str, tuple[Any, ...]] = {}
    tuned: tuple[str, ...] = ()
    """Settings of the grid that are tuned anew for every line of the tables, as McMahan et al. 2016
    tune the learning rate: fewest rounds to the target, or else the lowest error rate."""

    @model_validator(mode="after")
    def _distinct(self) -> ExperimentConfig:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"two arms have the same name: {', '.join(names)}")
        for arm in self.arms:
            _check_distinct("seeds", arm.seeds or self.seeds)
            grid = self.grid_of(arm)
            for name, values in grid.items():
                _check_distinct(name, values)
                if name in arm.set:
                    raise ValueError(f"arm {arm.name} sets {name}, and so does its grid")
            empty = [name for name, values in grid.items() if not values]
            if empty:
                raise ValueError(f"no values to try for {', '.join(empty)}")
            lacking = [name for name in self.tuned if name not in grid]
            if lacking:
                raise ValueError(f"arm {arm.name}: tuned without a grid: {', '.join(lacking)}")
        return self

    def grid_of(self, arm: Arm) -> dict[str, tuple[Any, ...]]:
        """The values that an arm is run at."""
        return {**self.grid, **arm.grid}

    @property
    def references(self) -> dict[str, float]:
        """`reference` by arm."""
        return {arm.name: arm.reference for arm in self.arms if arm.reference is not None}

    def trials(self, where: str) -> list[Trial]:
        """All trials, arm by arm.

        Raises:
            FedvoiceError: `bad-config` naming the arm and the field.
        """
        return [trial for arm in self.arms for trial in self._trials_of(arm, where)]

    def narrowed(self, seeds: Sequence[int], arms: Sequence[str], where: str) -> ExperimentConfig:
        """The same experiment with other seeds (all arms) or fewer arms; empty: as it is.

        Raises:
            FedvoiceError: `bad-config` for an unknown arm or a duplicate seed.
        """
        unknown = set(arms) - {arm.name for arm in self.arms}
        if unknown:
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where=f"{where}, --arms",
                got=", ".join(sorted(unknown)),
                wanted=f"some of {', '.join(arm.name for arm in self.arms)}",
                next_step="Name arms of the file.",
            )
        if len(set(seeds)) < len(seeds):
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where=f"{where}, --seeds",
                got=", ".join(map(str, seeds)),
                wanted="distinct seeds: spreads are those of independent trials",
                next_step="Remove the duplicates.",
            )
        kept = [arm for arm in self.arms if not arms or arm.name in arms]
        if seeds:
            kept = [arm.model_copy(update={"seeds": ()}) for arm in kept]
        chosen = tuple(seeds) or self.seeds
        return self.model_copy(update={"arms": tuple(kept), "seeds": chosen})

    def _trials_of(self, arm: Arm, where: str) -> Iterator[Trial]:
        grid = self.grid_of(arm)
        for values in product(*grid.values()):
            point = dict(zip(grid, values, strict=True))
            settings = self._settings({**arm.set, **point}, f"{where}, arm {arm.name}")
            for seed in arm.seeds or self.seeds:
                yield Trial(arm.name, arm.label or arm.name, point, seed, settings)

    def _settings(self, changes: Mapping[str, Any], where: str) -> TrialSettings:
        fields = copy.deepcopy(self.base)
        for name, value in changes.items():
            set_dotted(fields, name, value)
        settings = checked(TrialSettings, fields, where)
        parse_config({"insecure": True, **settings.server}, f"{where}, table server")
        return settings


def _check_distinct(name: str, values: Sequence[Any]) -> None:
    """Reject duplicates, which would count one trial as two that agree."""
    if any(value in values[:place] for place, value in enumerate(values)):
        raise ValueError(f"{name} has a value twice: {', '.join(map(str, values))}")


def load_experiment(path: Path, overrides: Mapping[str, Any] | None = None) -> ExperimentConfig:
    """Read an experiment's TOML file; see `read_fields`.

    Raises:
        FedvoiceError: `not-found`, `bad-config` naming the wrong field.
    """
    fields = read_fields(path, overrides)
    return checked(ExperimentConfig, fields, str(path))


def checked(model: type[M], fields: object, where: str) -> M:
    """Validate `fields` as settings of an experiment.

    Raises:
        FedvoiceError: `bad-config` naming the first wrong field.
    """
    return validated(
        model,
        fields,
        where,
        wanted="a setting of an experiment",
        next_step="`laboratory/experiment/config.py` lists every setting with its meaning.",
    )

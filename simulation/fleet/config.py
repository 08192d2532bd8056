"""A simulation as one TOML file: data, task, plan, server, fleet.

name = "words"
seed = 0
[data]    which speech, and its partition
[task]    the model to export (`fedvoice export` takes the same table)
[plan]    how a phone trains
[server]  rounds, cohort, server optimiser
[fleet]   processes, conditions
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from fedvoice.data.dataset import Dataset, DataTable
from fedvoice.data.speech import DataConfig
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.settings import read_toml, validated
from fedvoice.simulation.fleet.kinds import Counts, Kind


class ConditionStep(BaseModel):
    """From this time on (seconds after the phone starts) these conditions hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_secs: float = Field(ge=0)
    charging: bool = True
    idle: bool = True
    unmetered: bool = True


class ConditionScript(BaseModel):
    """A script of conditions that a share of the phones follows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(gt=0, le=1)
    steps: tuple[ConditionStep, ...] = Field(min_length=1)


class FleetConfig(BaseModel):
    """Settings of the emulated phones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processes: int = Field(default=2, ge=1)
    """Number of processes that the Python phones share."""
    threads: int = Field(default=1, ge=1)
    """Threads of the ExecuTorch runtime in each process."""
    phones: dict[Kind, Annotated[int, Field(ge=0)] | Literal["*"]] = {}
    """How many phones of each kind; a kind left out, or `*`, takes those that are left. Default:
    all of them Python phones."""
    android_processes: int = Field(default=1, ge=1)
    """JVMs that the Android phones share."""
    scripts: tuple[ConditionScript, ...] = ()
    """Phones beyond the shares are always charging, idle and on an unmetered network."""

    @property
    def counts(self) -> Counts:
        """`phones` with None for `*`."""
        return {kind: None if n == "*" else n for kind, n in self.phones.items()}

    @model_validator(mode="after")
    def _shares(self) -> FleetConfig:
        if sum(script.share for script in self.scripts) > 1 + 1e-9:
            raise ValueError("the scripts' shares add up to more than 1")
        return self


def _speech(table: object) -> object:
    """A table without `corpus` is speech, or voices that the simulation makes."""
    if isinstance(table, dict) and "corpus" not in table:
        return DataConfig.model_validate(table)
    return table


class SimulationConfig(BaseModel):
    """One run of a fleet against a server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    seed: int = Field(default=0, ge=0)
    data: Annotated[DataTable, BeforeValidator(_speech)]
    task: dict[str, Any]
    plan: TrainingPlan = TrainingPlan()
    server: dict[str, Any] = {}
    fleet: FleetConfig = FleetConfig()

    @field_validator("data")
    @classmethod
    def _sounds(cls, data: Dataset) -> Dataset:
        if not data.sounds:
            raise ValueError("emulated phones store sound files: name a corpus of speech")
        return data


def load_config(path: Path, overrides: dict[str, Any]) -> SimulationConfig:
    """Read a simulation's TOML file.

    Args:
        overrides: dotted names to values given on the command line; None means not given.

    Raises:
        FedvoiceError: `not-found`, `bad-config` with the field that is wrong.
    """
    fields = read_toml(
        path,
        wanted="a simulation's TOML file",
        next_step="Start from one of the files in experiments/.",
    )
    data = fields.get("data", {})
    for name in {"manifest", "folder"} & set(data if isinstance(data, dict) else ()):
        data[name] = path.parent / str(data[name])
    for name, value in overrides.items():
        if value is not None:
            _set(fields, name, value)
    return validated(
        SimulationConfig,
        fields,
        str(path),
        wanted="a simulation",
        next_step="`simulation/fleet/config.py` lists every field.",
    )


def _set(fields: dict[str, Any], name: str, value: Any) -> None:
    *tables, last = name.split(".")
    for table in tables:
        fields = fields.setdefault(table, {})
    fields[last] = value
    if name == "data.manifest":
        fields.pop("synthetic", None)

"""Everything that can be set about a server, validated when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from fedvoice.algorithm.settings import AlgorithmConfig
from fedvoice.protocol.addresses import bracketed
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.settings import read_toml, validated
from fedvoice.server.intake.streams import StreamSettings


class Gates(BaseModel):
    """Conditions that a client must meet to be given work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    charging: bool = True
    idle: bool = True
    unmetered: bool = True
    overridable: bool = True
    """Whether a session that the phone's owner starts gets work regardless of conditions."""


class RetryConfig(BaseModel):
    """Pace steering: when a client without work is told to call again.

    The window starts at the expected end of the round, held between `least_secs` and `most_secs`,
    and is `spread` times as wide as it is far away, so that clients do not come back together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_secs: float = Field(default=5.0, gt=0)
    most_secs: float = Field(default=600.0, gt=0)
    spread: float = Field(default=0.5, ge=0)
    most_calls_per_sec: float = Field(default=200.0, gt=0)
    """Check-ins that all phones together may offer: of many phones each waits longer."""

    @model_validator(mode="after")
    def _ordered(self) -> RetryConfig:
        if self.most_secs < self.least_secs:
            raise ValueError("most_secs must be at least least_secs")
        return self


class KeepSettings(BaseModel):
    """What the store keeps, and for how long (`server/store/retention.py`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights_of_rounds: int = Field(default=20, ge=0)
    """Rounds whose weights stay, beside the initial ones and those with the lowest word error rate;
    0: all."""
    rows_of_rounds: int = Field(default=100, ge=0)
    """Rounds whose assignments, reports, evaluations and bytes of each client stay; the sums of all
    rounds always do. 0: all."""
    credentials_days: float = Field(default=30.0, ge=0)
    """How long certificates and invitations stay after they have run out."""
    clients_days: float = Field(default=180.0, ge=0)
    """How long a client stays known that does not call; 0: for ever."""
    most_clients: int = Field(default=2_000_000, ge=1)
    """Clients known at once; others are told to come again."""


EVERYTHING = {"weights_of_rounds": 0, "rows_of_rounds": 0}
"""Settings of a simulation, whose results are read from its server's rows."""


class ServerConfig(AlgorithmConfig):
    """One federated job on one server: the algorithm's settings and those of sockets and stores."""

    gates: Gates = Gates()
    plan: TrainingPlan | None = None
    """None: the task package's plan."""
    quota_bytes: int = Field(default=8 * 1024**3, gt=0)
    """Disk that blobs and payloads may take; safetensors of past rounds are not counted."""
    retry: RetryConfig = RetryConfig()
    bind: str = "127.0.0.1:8700"
    """Address and port; port 0 takes a free one. Phones need a certificate there."""
    enrol_bind: str = ""
    """Where phones get their certificate; default: the host of `bind` and its port + 1."""
    names: tuple[str, ...] = ()
    """Further host names and addresses by which phones call this server."""
    insecure: bool = False
    """No TLS and no certificates: for one machine."""
    streams: StreamSettings = StreamSettings()
    """Limits of uploads and downloads."""
    stop_grace_secs: float = Field(default=5.0, ge=0)
    """What calls that run get when the server is told to stop; uploads cut then are resumed."""
    keep: KeepSettings = KeepSettings()
    """What the store keeps, and for how long."""
    handler_threads: int = Field(default=4, ge=1)
    """Threads that ask the store for calls. No client keeps one waiting."""
    finishing_threads: int = Field(default=8, ge=1)
    """Uploads that are synced, recorded and folded at once."""
    line_margin: float = Field(default=1.5, ge=0)
    """What a phone has to fetch and send, at the rates it reports, takes at most 1 / line_margin of
    the time that its lease, the round and its training leave; else it gets no work and is told
    why. 0: rates are not looked at."""
    durability: Literal["durable", "none"] = "durable"
    """durable: an accepted update is on the disk before its phone is told; none: it survives the
    process alone, not the machine (simulations)."""

    @field_validator("bind", "enrol_bind")
    @classmethod
    def _address(cls, bind: str, info: ValidationInfo) -> str:
        # gRPC would take 99999 modulo 65536, and a missing host for a name.
        if bind.startswith("unix:") or (info.field_name == "enrol_bind" and not bind):
            return bind
        return bracketed(bind)

    @model_validator(mode="after")
    def _can_be_secured(self) -> ServerConfig:
        if self.insecure:
            return self
        if self.bind.startswith("unix:") or self.enrol_bind.startswith("unix:"):
            raise ValueError("TLS needs host:port addresses; a unix: address needs insecure = true")
        if self.bind.endswith(":65535") and not self.enrol_bind:
            raise ValueError("no port is left for enrolment: set enrol_bind too")
        return self


def parse_config(fields: dict[str, Any], where: str) -> ServerConfig:
    """Validate fields read from a file or the command line.

    Raises:
        FedvoiceError: `bad-config` with the first field that is wrong.
    """
    return validated(
        ServerConfig,
        fields,
        where,
        wanted="a server setting",
        next_step="`server/config.py` and `algorithm/settings.py` list every setting.",
    )


def read_config_fields(path: Path) -> dict[str, Any]:
    """The fields of the file that `fedvoice serve --config` names, not yet validated.

    Raises:
        FedvoiceError: `not-found`, `bad-config`.
    """
    return read_toml(
        path, wanted="a server's TOML file", next_step="Check the path given to --config."
    )

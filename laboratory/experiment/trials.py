"""A trial of an experiment: one arm, one point of the grid, one seed; identified by a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fedvoice.data.dataset import DataTable, content_digest, identity_of
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.server.config import ServerConfig, parse_config
from fedvoice.simulation.settings import CentralConfig, EngineKind, EngineName

ALGORITHM = 1
"""Incremented when the same settings give other results than before, or a default changes."""

Metric = Literal["wer", "heldout_wer", "pooled", "cer", "heldout_cer", "pooled_cer"]
"""Own test speech of the clients that train, held-out speakers, or the words of both; the last
three count characters."""


class TrialSettings(BaseModel):
    """The settings of a trial, without its seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataTable
    task: dict[str, Any]
    plan: TrainingPlan = TrainingPlan()
    server: dict[str, Any] = {}
    engine: EngineName = EngineKind.FAST.value
    export: bool = True
    """Export the task, so that mu includes the phone's arena."""
    central: CentralConfig = CentralConfig()
    """Settings of engine central."""
    average_last: int = Field(default=1, ge=1)
    """The figure of a trial is the mean over its last `average_last` evaluations."""
    target: float | None = Field(default=None, ge=0)
    """Stop at the first evaluation whose `target_metric` (percent) is at most this."""
    target_metric: Metric = "pooled"
    cfmq_budget_bytes: float | None = Field(default=None, gt=0)
    """Stop after the round in which CFMQ reaches this."""


@dataclass(frozen=True)
class Trial:
    """point: dotted settings and values of the grid. kept_as: the digest it was run under; "":
    computed."""

    arm: str
    label: str
    point: Mapping[str, Any]
    seed: int
    settings: TrialSettings
    kept_as: str = ""

    @cached_property
    def digest(self) -> str:
        """sha256 of all that determines the result: settings, seed, corpus, versions. Computed
        once, from the corpus as it is then."""
        if self.kept_as:
            return self.kept_as
        settings = self.settings
        # Defaults are excluded: a new setting leaves old digests unchanged.
        fields = settings.model_dump(mode="json", exclude={"data"}, exclude_defaults=True)
        vocabulary = fields["task"].get("vocabulary")
        if isinstance(vocabulary, dict) and "manifest" in vocabulary:  # it is checked later
            vocabulary["manifest"] = content_digest(Path(str(vocabulary["manifest"])))
        # mu depends on the exporter.
        libraries = ["torch", "numpy", *(["executorch"] if settings.export else [])]
        parts = {
            "algorithm": ALGORITHM,
            "settings": fields,
            "data": identity_of(settings.data),
            "seed": self.seed,
            "versions": [version(library) for library in libraries],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def plan(self) -> TrainingPlan:
        """The settings' plan, with this trial's seed."""
        return self.settings.plan.model_copy(update={"seed": self.seed})

    @cached_property
    def server(self) -> ServerConfig:
        """The server's settings, with this trial's plan and seed; parsed once.

        Raises:
            FedvoiceError: `bad-config`.
        """
        fields = {
            "seed": self.seed,
            "insecure": True,
            **self.settings.server,
            "plan": self.plan.model_dump(),
        }
        return parse_config(fields, f"[base.server], {self.name}")

    @property
    def name(self) -> str:
        """Arm, point and seed, as text."""
        point = "".join(f" {key.rpartition('.')[2]}={value}" for key, value in self.point.items())
        return f"{self.arm}{point} seed {self.seed}"

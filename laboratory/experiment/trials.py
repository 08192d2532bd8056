"""A trial of an experiment: one arm, one point of the grid, one seed; known by what decides it."""

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

from fedvoice.data.dataset import DataTable, content_digest
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.server.config import ServerConfig, parse_config
from fedvoice.simulation.settings import CentralConfig, EngineKind, EngineName

ALGORITHM = 1
"""Raised when the same settings would give other results than before, or a default changes."""

Metric = Literal["wer", "heldout_wer", "pooled"]
"""Own test speech of the clients that train, held-out speakers, or the words of both."""


class TrialSettings(BaseModel):
    """One run, whatever its seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataTable
    task: dict[str, Any]
    plan: TrainingPlan = TrainingPlan()
    server: dict[str, Any] = {}
    engine: EngineName = EngineKind.FAST.value
    export: bool = True
    """Export the task, so that mu is a phone's; without it mu has no arena in it."""
    central: CentralConfig = CentralConfig()
    """Of engine central."""
    average_last: int = Field(default=1, ge=1)
    """The figure of a trial is the mean over so many of its last evaluations."""
    target: float | None = Field(default=None, ge=0)
    """Stop at the first evaluation whose `target_metric` (percent) is as low."""
    target_metric: Metric = "pooled"
    cfmq_budget_bytes: float | None = Field(default=None, gt=0)
    """Stop after the round in which CFMQ reaches this."""


@dataclass(frozen=True)
class Trial:
    """point: the grid's dotted settings and values that this trial has. kept_as: the digest it was
    run under; without it the digest is worked out."""

    arm: str
    label: str
    point: Mapping[str, Any]
    seed: int
    settings: TrialSettings
    kept_as: str = ""

    @cached_property
    def digest(self) -> str:
        """sha256 of all that decides the result: settings, seed, corpus, versions. Of the corpus
        as it was when first asked."""
        if self.kept_as:
            return self.kept_as
        settings = self.settings
        # Without what is left at its default: a new setting leaves old results as they are.
        fields = settings.model_dump(mode="json", exclude={"data"}, exclude_defaults=True)
        vocabulary = fields["task"].get("vocabulary")
        if isinstance(vocabulary, dict) and "manifest" in vocabulary:  # it is checked later
            vocabulary["manifest"] = content_digest(Path(str(vocabulary["manifest"])))
        # A program's memory is the exporter's doing.
        libraries = ["torch", "numpy", *(["executorch"] if settings.export else [])]
        parts = {
            "algorithm": ALGORITHM,
            "settings": fields,
            "data": settings.data.identity(),
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
        """For people: arm, point, seed."""
        point = "".join(f" {key.rpartition('.')[2]}={value}" for key, value in self.point.items())
        return f"{self.arm}{point} seed {self.seed}"

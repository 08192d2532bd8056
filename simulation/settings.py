"""Settings of simulations, readable without loading an engine."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class EngineKind(StrEnum):
    """The built-in engines."""

    FAST = "fast"
    """Eager PyTorch in this process."""
    EXECUTORCH = "executorch"
    """The phone's trainer on the ExecuTorch runtime, in this process."""
    PHONES = "phones"
    """Emulated phones and a server, over gRPC: `fedvoice simulate`."""
    CENTRAL = "central"
    """No federation: all data in one place, Adam (`simulation.central`)."""


def _known_engine(name: str) -> str:
    from fedvoice.simulation.engines import ENGINES

    if ":" not in name and name not in ENGINES.names():
        raise ValueError(f"wanted one of {', '.join(ENGINES.names())}, or module:name")
    return name


EngineName = Annotated[str, AfterValidator(_known_engine)]
"""An engine that is built in, registered or installed, or `module:name`."""


class CentralConfig(BaseModel):
    """Adam with a cosine to zero. Batch size, clipping and SpecAugment are the plan's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=60, ge=1)
    rate: float = Field(default=2e-3, gt=0)
    evaluate_every: int = Field(default=5, ge=1)
    """Epochs."""

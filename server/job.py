"""What stays the same from a job's first round to its last."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.generated import fedvoice_pb2 as pb
from protocol.plan import TrainingPlan
from protocol.task import TaskManifest
from server.config import ServerConfig


@dataclass(frozen=True)
class Job:
    """One federated job. `name` tells its assignments from those of other jobs."""

    name: str
    config: ServerConfig
    manifest: TaskManifest
    plan: TrainingPlan
    manifest_blob: pb.Blob
    program_blob: pb.Blob

    @property
    def size(self) -> int:
        """P."""
        return self.manifest.parameters.total_size

    def books(self) -> dict[str, float]:
        """What the ledger needs to know of a round beside its reports."""
        return {
            "weights_bytes": self.manifest.parameters.weights_bytes,
            "local_epochs": self.plan.local_epochs,
            "batch_size": self.plan.batch_size,
            "alpha": self.config.alpha,
        }

"""What stays the same from a job's first round to its last."""

from __future__ import annotations

from dataclasses import dataclass

from fedvoice.algorithm.plan_schedule import plan_for_round
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import TaskManifest
from fedvoice.server.config import ServerConfig


@dataclass(frozen=True)
class Job:
    """One federated job. `name` tells its assignments from those of other jobs."""

    name: str
    config: ServerConfig
    manifest: TaskManifest
    plan: TrainingPlan
    """As configured; `plan_for` is what a round's phones are given."""
    frozen: tuple[slice, ...]
    """Parts of the vector that the plan does not train: a phone that is too old to know of it is
    not let to move them."""
    manifest_blob: pb.Blob
    program_blob: pb.Blob

    @property
    def size(self) -> int:
        """P."""
        return self.manifest.parameters.total_size

    def without_frozen(self, delta: FlatVector) -> FlatVector:
        """`delta` [P] with 0 in the parts that do not train, in place."""
        for part in self.frozen:
            delta[part] = 0
        return delta

    def plan_for(self, number: int) -> TrainingPlan:
        """The plan of round `number`."""
        schedule = self.config.plan_schedule
        return plan_for_round(schedule, self.plan, number, self.config.rounds)

    def books(self, number: int) -> dict[str, float]:
        """What the ledger needs to know of round `number` beside its reports."""
        plan = self.plan_for(number)
        return {
            "weights_bytes": self.manifest.parameters.weights_bytes,
            "local_epochs": plan.local_epochs,
            "batch_size": plan.batch_size,
            "alpha": self.config.alpha,
        }

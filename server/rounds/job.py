"""The parts of a job that stay the same from its first round to its last."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fedvoice.algorithm.events import Grant
from fedvoice.algorithm.federated import FederatedAlgorithm
from fedvoice.algorithm.rounds import RoundRules, Work
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.features import check_masks
from fedvoice.protocol.generated import fedvoice_pb2 as pb
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
    """As configured; `plan_for` gives each round's."""
    manifest_blob: pb.Blob
    program_blob: pb.Blob

    @property
    def size(self) -> int:
        """P."""
        return self.manifest.parameters.total_size

    @cached_property
    def algorithm(self) -> FederatedAlgorithm:
        """The algorithm, as simulations have it too."""
        return FederatedAlgorithm(self.config, self.manifest.parameters, self.plan)

    def check(self) -> None:
        """Check that the algorithm can run here, before any client gets work.

        Raises:
            FedvoiceError: `bad-config` for a plan or links that do not fit; `bad-plugin`.
        """
        _ = self.algorithm.frozen, self.plan_for(1)
        check_masks(self.manifest.features, self.plan)
        if not self.algorithm.chain.exact:
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where="links",
                got="a link that is declared not exact",
                wanted="exact links: a restarted server must compute the same model",
                next_step="Leave it out here, or run it in a simulation.",
            )

    def plan_for(self, number: int) -> TrainingPlan:
        """The plan of round `number`."""
        return self.algorithm.plan_for(number)

    def assignment(self, rules: RoundRules, grant: Grant, weights: pb.Blob) -> pb.Assignment:
        """What a client is given."""
        return pb.Assignment(
            assignment_id=grant.assignment_id,
            round=rules.number,
            work=pb.WORK_TRAIN if rules.work is Work.TRAIN else pb.WORK_EVALUATE,
            lease_secs=grant.lease_secs,
            plan=self.plan_for(rules.number).to_message(),
            manifest=self.manifest_blob,
            program=self.program_blob,
            weights=weights,
        )

    def books(self, number: int, weights_bytes: int) -> dict[str, float]:
        """What the ledger needs besides the reports of round `number`. weights_bytes: as a client
        downloads them."""
        plan = self.plan_for(number)
        return {
            "weights_bytes": weights_bytes,
            "local_epochs": plan.local_epochs,
            "batch_size": plan.batch_size,
            "alpha": self.config.alpha,
        }

"""Federated rounds in one process: the server's own machine, aggregation and optimisers, without
sockets and stores.

`algorithm.rounds` decides who trains and when a round ends, `algorithm.aggregation` sums, and
`algorithm.optimizers` steps, as in the server; clients come from a backend. The books count the
payloads alone: what check-ins and framing add is measured on the wire by `fedvoice simulate`.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from fedvoice.algorithm import (
    optimizers,
    rounds,
)
from fedvoice.algorithm.aggregation import Accumulator
from fedvoice.algorithm.optimizers import OptimizerState
from fedvoice.algorithm.plan_schedule import plan_for_round
from fedvoice.algorithm.rounds import (
    RoundState,
    Work,
)
from fedvoice.algorithm.schedule import (
    following,
    rules_for,
)
from fedvoice.protocol.cost import (
    Cfmq,
    analytic_cfmq,
)
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import TaskManifest
from fedvoice.reporting.results import RoundResult
from fedvoice.server.config import ServerConfig
from fedvoice.simulation.cohort import (
    ClientReport,
    RoundWork,
    UpdateLimits,
)
from fedvoice.simulation.quality import ErrorCounts
from fedvoice.simulation.workers.pool import Backend

Evaluate = Callable[[FlatVector], Mapping[str, ErrorCounts]]
"""Errors of weights [P] by test set: `wer`, `heldout_wer`."""

FREE = Cfmq(0.0, 0.0)


@dataclass(frozen=True)
class FederationState:
    """Everything that a run needs to go on after a round.

    weights: float32 [P]. rows: one a closed round. evaluations: errors by round (0: before the
    first) and test set. cost: the terms of CFMQ so far; analytic: the paper's formula. refused:
    updates that did not count, by reason.
    """

    weights: FlatVector
    optimizer: OptimizerState
    number: int = 0
    rows: tuple[RoundResult, ...] = ()
    evaluations: Mapping[int, Mapping[str, ErrorCounts]] = field(default_factory=dict)
    cost: Cfmq = FREE
    analytic: Cfmq = FREE
    refused: Mapping[str, int] = field(default_factory=dict)


class Training(Protocol):
    """What goes from state to state: a federation by rounds, central training by epochs."""

    @property
    def rounds(self) -> int:
        """Steps to its end."""

    def start(self, weights: FlatVector) -> FederationState:
        """Before the first step, at `weights` float32 [P]."""

    def step(self, state: FederationState) -> FederationState:
        """The state after one more; the same state always gives the same one."""

    def finish(self, state: FederationState) -> FederationState:
        """`state` with an evaluation of its weights: a run that ends early may lack the last one.
        Without one where none is wanted at all."""


@dataclass(frozen=True)
class Federation:
    """What stays the same from round to round.

    Args:
        client_ids: all clients that may train.
        config: the server's settings; those of sockets, stores and leases are not used.
        evaluate: how weights are judged, at the rounds the settings name.
    """

    name: str
    manifest: TaskManifest
    client_ids: Sequence[str]
    plan: TrainingPlan
    config: ServerConfig
    backend: Backend
    evaluate: Evaluate

    @property
    def rounds(self) -> int:
        """R."""
        return self.config.rounds

    def start(self, weights: FlatVector) -> FederationState:
        """Before round 1; evaluates the initial weights where the settings want it."""
        state = FederationState(
            weights, optimizers.init(self.config.optimizer, self.manifest.parameters)
        )
        return evaluated(state, self.evaluate) if self.config.evaluate_first else state

    def step(self, state: FederationState) -> FederationState:
        """One training round, and the evaluation that follows it."""
        began = time.monotonic()
        number = state.number + 1
        plan = plan_for_round(self.config.plan_schedule, self.plan, number, self.config.rounds)
        work = RoundWork(number, plan, state.weights, self._limits())
        ended, total, reports = self._train(work)
        if ended.phase is rounds.Phase.COMMITTING:
            weights, optimizer = optimizers.apply(
                self.config.optimizer,
                state.optimizer,
                state.weights,
                total.mean(),
                table=self.manifest.parameters,
                number=number,
                rounds=self.config.rounds,
            )
            ended, _ = rounds.step(ended, rounds.Committed(1.0))
            state = replace(state, weights=weights, optimizer=optimizer)
        state = self._booked(replace(state, number=number), plan, ended, reports, began)
        after = following(self.config, (number, Work.TRAIN))
        return evaluated(state, self.evaluate) if after == (number, Work.EVALUATE) else state

    def finish(self, state: FederationState) -> FederationState:
        """See `Training`."""
        return evaluated(state, self.evaluate) if self.config.evaluate_every else state

    def _limits(self) -> UpdateLimits:
        config = self.config
        return UpdateLimits(
            config.grid_bits,
            config.max_update_abs,
            config.max_update_norm,
            config.max_client_examples,
        )

    def _train(self, work: RoundWork) -> tuple[RoundState, Accumulator, list[ClientReport]]:
        """Step the round's machine to its end; a place that is refused goes to the next client."""
        candidates = rounds.draw_cohort(self.config.seed, work.number, self.client_ids)
        state = RoundState(rules_for(self.config, self.name, work.number, Work.TRAIN))
        state, _ = rounds.step(state, rounds.Started(0.0, candidates))
        total = Accumulator(work.weights.size, grid_bits=self.config.grid_bits)
        reports: list[ClientReport] = []
        while state.phase is rounds.Phase.TRAINING and state.places:
            # What is asked beyond the goal covers phones that drop out, and none does here.
            invited = list(state.places)[: state.goal - len(state.accepted)]
            for client_id in invited:
                state, _ = rounds.step(state, rounds.CheckedIn(0.0, client_id))
            part = self.backend.train(work, invited)
            total.merge(part.total)
            reports += part.reports
            for report in part.reports:
                kind = rounds.ReportRejected if report.refused else rounds.ReportAccepted
                state, _ = rounds.step(state, kind(0.0, report.client_id))
        if state.phase is rounds.Phase.TRAINING:  # nobody is left to invite
            state, _ = rounds.step(state, rounds.Ticked(state.deadline_secs))
        return state, total, reports

    def _booked(
        self,
        state: FederationState,
        plan: TrainingPlan,
        ended: RoundState,
        reports: Sequence[ClientReport],
        began: float,
    ) -> FederationState:
        accepted = [report for report in reports if not report.refused]
        statistics = [report.statistics for report in accepted]
        examples = sum(s.examples for s in statistics)
        down = len(reports) * self.manifest.parameters.weights_bytes
        up = sum(report.payload_bytes for report in reports)
        cost = Cfmq(
            state.cost.communication_bytes + down + up,
            state.cost.computation_bytes
            + sum(float(s.steps * s.planned_memory_bytes) for s in statistics),
            self.config.alpha,
        )
        analytic = state.analytic
        if accepted:
            of_round = analytic_cfmq(
                rounds=1,
                clients=len(accepted),
                payload_bytes=(down + up) / len(accepted),
                memory_bytes=sum(s.planned_memory_bytes for s in statistics) / len(accepted),
                local_epochs=plan.local_epochs,
                round_examples=examples,
                batch_size=plan.batch_size or examples / len(accepted),
                alpha=self.config.alpha,
            )
            analytic = Cfmq(
                analytic.communication_bytes + of_round.communication_bytes,
                analytic.computation_bytes + of_round.computation_bytes,
                self.config.alpha,
            )
        loss = sum(s.examples * s.loss for s in statistics) / examples if examples else None
        row = RoundResult(
            round=state.number,
            loss=loss if loss is None or math.isfinite(loss) else None,
            wer=None,
            heldout_wer=None,
            clients=len(accepted),
            examples=examples,
            steps=sum(s.steps for s in statistics),
            bytes_down=down,
            bytes_up=up,
            cfmq_communication_bytes=cost.communication_bytes,
            cfmq_compute_bytes=cost.computation_bytes,
            wall_secs=time.monotonic() - began,
            memory_bytes=max((s.planned_memory_bytes for s in statistics), default=0),
            peak_memory_bytes=max((s.peak_memory_bytes for s in statistics), default=0),
            analytic_cfmq_bytes=analytic.total_bytes,
            end=f"{ended.phase}, {ended.ending}",
        )
        refused = Counter(state.refused) + Counter(r.refused for r in reports if r.refused)
        return replace(
            state, rows=(*state.rows, row), cost=cost, analytic=analytic, refused=refused
        )


def evaluated(state: FederationState, evaluate: Evaluate) -> FederationState:
    """`state` with the errors of its weights, also in the row of its last round."""
    if state.number in state.evaluations:
        return state
    found = evaluate(state.weights)
    evaluations = {**state.evaluations, state.number: found}
    if not state.rows:
        return replace(state, evaluations=evaluations)
    rates = {name: errors.percent for name, errors in found.items()}
    row = replace(state.rows[-1], wer=rates.get("wer"), heldout_wer=rates.get("heldout_wer"))
    return replace(state, rows=(*state.rows[:-1], row), evaluations=evaluations)

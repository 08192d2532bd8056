"""Federated rounds in one process: drives `algorithm` without sockets and stores.

`algorithm.rounds` decides who trains and when a round ends, `algorithm.federated` does the rest, as
in the server; a worker pool trains the clients. Costs count payloads only: the overhead of
check-ins and framing is measured on the wire by `fedvoice simulate`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from fedvoice.algorithm import events, rounds
from fedvoice.algorithm.aggregation import Accumulator
from fedvoice.algorithm.books import RoundAccount
from fedvoice.algorithm.cohort import draw_cohort
from fedvoice.algorithm.events import Started
from fedvoice.algorithm.federated import AlgorithmState, FederatedAlgorithm
from fedvoice.algorithm.influence import NO_NORMS, Influence, NormHistory
from fedvoice.algorithm.optimizers import OptimizerState
from fedvoice.algorithm.rounds import RoundState, Work
from fedvoice.algorithm.schedule import following, rules_for
from fedvoice.algorithm.settings import AlgorithmConfig
from fedvoice.protocol.cost import Cfmq
from fedvoice.protocol.features import check_masks
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.scoring import ErrorCounts
from fedvoice.protocol.task import TaskManifest
from fedvoice.reporting.results import RoundResult
from fedvoice.simulation.cohort import ClientReport, RoundWork, spooled_updates
from fedvoice.simulation.workers.pool import WorkerPool

Evaluate = Callable[[FlatVector], Mapping[str, ErrorCounts]]
"""Errors of weights [P] by test set: `wer`, `heldout_wer`, each with its characters."""


@dataclass(frozen=True)
class FederationState:
    """Everything that a run needs to resume after a round.

    rows: one a closed round. evaluations: errors by round (0: before the first) and test set.
    refused: number of rejected updates by reason. norms: of the last rounds' updates.
    """

    algorithm: AlgorithmState
    rows: tuple[RoundResult, ...] = ()
    evaluations: Mapping[int, Mapping[str, ErrorCounts]] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    norms: NormHistory = NO_NORMS

    @property
    def weights(self) -> FlatVector:
        """float32 [P]."""
        return self.algorithm.weights

    @property
    def optimizer(self) -> OptimizerState:
        """The server optimiser's slots."""
        return self.algorithm.optimizer

    @property
    def number(self) -> int:
        """The last closed round."""
        return self.algorithm.number

    @property
    def cost(self) -> Cfmq:
        """The terms of CFMQ so far, as measured."""
        return self.algorithm.costs.measured

    @property
    def analytic(self) -> Cfmq:
        """The same by the paper's formula."""
        return self.algorithm.costs.analytic


class Training(Protocol):
    """Training as state transitions: a federation by rounds, central training by epochs."""

    @property
    def rounds(self) -> int:
        """Steps to its end."""

    def start(self, weights: FlatVector) -> FederationState:
        """Before the first step, at `weights` float32 [P]."""

    def step(self, state: FederationState) -> FederationState:
        """The state after one more step; deterministic."""

    def finish(self, state: FederationState) -> FederationState:
        """`state` with an evaluation of its weights, which a run that ends early may lack.
        Unchanged where the settings ask for no evaluations."""


@dataclass(frozen=True)
class Federation:
    """The part of a simulation that is constant from round to round.

    Args:
        client_ids: all clients that may train.
        config: the algorithm's settings; leases are not used.
        evaluate: how weights are judged, at the rounds the settings name.
        size_of: examples that a client declares (`Population.size`); None: not known, so that no
            client's weight is capped.
    """

    name: str
    manifest: TaskManifest
    client_ids: Sequence[str]
    plan: TrainingPlan
    config: AlgorithmConfig
    pool: WorkerPool
    evaluate: Evaluate
    size_of: Callable[[str], int] | None = None

    @property
    def rounds(self) -> int:
        """R."""
        return self.config.rounds

    @cached_property
    def algorithm(self) -> FederatedAlgorithm:
        """The algorithm, as pure functions."""
        return FederatedAlgorithm(self.config, self.manifest.parameters, self.plan)

    def start(self, weights: FlatVector) -> FederationState:
        """Before round 1; evaluates the initial weights where the settings want it.

        Raises:
            FedvoiceError: `bad-config` for a plan that masks waveforms.
        """
        check_masks(self.manifest.features, self.plan)
        state = FederationState(self.algorithm.init(weights))
        return evaluated(state, self.evaluate) if self.config.evaluate_first else state

    def step(self, state: FederationState) -> FederationState:
        """One training round, and the evaluation that follows it."""
        began = time.monotonic()
        number, after_round = state.number + 1, state.algorithm
        reference = self.algorithm.reference(state.algorithm)
        started = self._started(number, state.norms)
        with self._work(number, reference.weights, started) as work:
            ended, total, reports = self._train(work, started)
            if ended.phase is rounds.Phase.COMMITTING:
                delta = self.algorithm.delta(total, spooled_updates(work, reports))
                after_round = self.algorithm.apply(after_round, delta, number)
                ended, _ = rounds.step(ended, events.Committed(1.0))
        accepted = [report for report in reports if not report.refused]
        committed = ended.phase is rounds.Phase.COMMITTED
        norms = state.norms.after([report.norm for report in accepted] if committed else None)
        after_round, account = self.algorithm.account(
            after_round,
            number,
            [report.statistics for report in accepted],
            bytes_down=len(reports) * len(reference.data),
            bytes_up=sum(report.payload_bytes for report in reports),
        )
        row = result_of(account, number, f"{ended.phase}, {ended.ending}", began)
        refused = Counter(state.refused) + Counter(r.refused for r in reports if r.refused)
        state = replace(
            state,
            algorithm=after_round,
            rows=(*state.rows, row),
            refused=refused,
            norms=norms,
        )
        after = following(self.config, (number, Work.TRAIN))
        return evaluated(state, self.evaluate) if after == (number, Work.EVALUATE) else state

    def finish(self, state: FederationState) -> FederationState:
        """See `Training`."""
        return evaluated(state, self.evaluate) if self.config.evaluate_every else state

    def _started(self, number: int, norms: NormHistory) -> Started:
        """The beginning of a round: whom it invites, and the limits of each."""
        rules = rules_for(self.config, self.name, number, Work.TRAIN)
        candidates = draw_cohort(self.config.seed, number, self.client_ids)
        size_of = self.size_of
        declared = [size_of(client) for client in candidates[: rules.places]] if size_of else []
        return self.algorithm.started(rules, 0.0, candidates, declared, norms)

    @contextmanager
    def _work(self, number: int, weights: FlatVector, started: Started) -> Iterator[RoundWork]:
        """The input of the round's clients; updates are spooled where a link needs them."""
        own = self.algorithm
        work = RoundWork(
            number,
            own.plan_for(number),
            weights,
            own.limits,
            self.config.links,
            influence=Influence(started.weight_cap, started.norm_bound),
        )
        if not own.chain.needs_updates:
            yield work
            return
        with TemporaryDirectory(prefix="fedvoice-updates-") as spool:
            yield replace(work, spool=Path(spool))

    def _train(
        self, work: RoundWork, started: Started
    ) -> tuple[RoundState, Accumulator, list[ClientReport]]:
        """Step the round machine to its end; a rejected update is replaced by the next client's."""
        state = RoundState(rules_for(self.config, self.name, work.number, Work.TRAIN))
        state, _ = rounds.step(state, started)
        total = self.algorithm.accumulator()
        reports: list[ClientReport] = []
        while state.phase is rounds.Phase.TRAINING and state.places:
            # Over-selection covers clients that drop out, and none does here.
            invited = list(state.places)[: state.goal - len(state.accepted)]
            for client_id in invited:
                state, _ = rounds.step(state, events.CheckedIn(0.0, client_id))
            part = self.pool.train(work, invited)
            total.merge(part.total)
            reports += part.reports
            for report in part.reports:
                kind = events.ReportRejected if report.refused else events.ReportAccepted
                state, _ = rounds.step(state, kind(0.0, report.client_id))
        if state.phase is rounds.Phase.TRAINING:  # no client is left to invite
            state, _ = rounds.step(state, events.Ticked(state.deadline_secs))
        return state, total, reports


def result_of(account: RoundAccount, number: int, end: str, began: float) -> RoundResult:
    """A round's row of the results, not yet evaluated. `began`: by the monotonic clock."""
    return RoundResult(
        round=number,
        loss=account.loss,
        wer=None,
        heldout_wer=None,
        clients=account.clients,
        examples=account.examples,
        steps=account.steps,
        bytes_down=account.bytes_down,
        bytes_up=account.bytes_up,
        cfmq_communication_bytes=account.costs.measured.communication_bytes,
        cfmq_compute_bytes=account.costs.measured.computation_bytes,
        wall_secs=time.monotonic() - began,
        memory_bytes=account.planned_memory_bytes,
        peak_memory_bytes=account.peak_memory_bytes,
        analytic_cfmq_bytes=account.costs.analytic.total_bytes,
        end=end,
    )


def evaluated(state: FederationState, evaluate: Evaluate) -> FederationState:
    """`state` with the errors of its weights, also in the row of its last round."""
    if state.number in state.evaluations:
        return state
    found = evaluate(state.weights)
    evaluations = {**state.evaluations, state.number: found}
    if not state.rows:
        return replace(state, evaluations=evaluations)
    none = ErrorCounts(0, 0)
    own, held_out = found.get("wer", none), found.get("heldout_wer", none)
    row = replace(
        state.rows[-1],
        wer=own.percent,
        heldout_wer=held_out.percent,
        cer=own.char_percent,
        heldout_cer=held_out.char_percent,
    )
    return replace(state, rows=(*state.rows[:-1], row), evaluations=evaluations)

"""The federated algorithm: its state, and the pure functions that advance it by a round.

    state = algorithm.init(weights)
    plan, reference = algorithm.plan_for(state.number + 1), algorithm.reference(state)
    ... clients train from the reference by the plan; each update: `check_statistics`,
    `check_facts`, `chain.fold`
    state = algorithm.apply(state, algorithm.delta(total, spooled), number)
    state, row = algorithm.account(state, number, accepted, ...)

Drivers (the server, the in-process simulation) supply clients, clocks and stores. Everything that
changes a model or its costs is here, so that all drivers agree (law 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from fedvoice.algorithm import books, optimizers
from fedvoice.algorithm.aggregation import Accumulator
from fedvoice.algorithm.books import Costs, Counts, FormulaTerms, RoundAccount
from fedvoice.algorithm.chain import Chain, check_spooled, make_chain
from fedvoice.algorithm.checks import UpdateLimits
from fedvoice.algorithm.events import Started
from fedvoice.algorithm.influence import FEWEST, NormHistory, norm_bound, weight_cap
from fedvoice.algorithm.links import Spooled
from fedvoice.algorithm.optimizers import OptimizerState
from fedvoice.algorithm.plan_schedule import plan_for_round
from fedvoice.algorithm.reference import Reference, reference_of
from fedvoice.algorithm.rounds import RoundRules, goal_of
from fedvoice.algorithm.settings import AlgorithmConfig
from fedvoice.protocol.parameters import FlatVector, ParameterTable
from fedvoice.protocol.plan import TrainingPlan, frozen_parts


@dataclass(frozen=True)
class AlgorithmState:
    """The state that rounds change.

    weights: float32 [P]. number: the last closed round, 0 before the first. costs: CFMQ of all
    rounds so far (a server folds it from its store when asked and leaves it empty here).
    """

    weights: FlatVector
    optimizer: OptimizerState
    number: int = 0
    costs: Costs = field(default_factory=Costs)


@dataclass(frozen=True)
class FederatedAlgorithm:
    """A job's configuration and its pure functions. `plan`: as configured, before
    the schedule."""

    config: AlgorithmConfig
    table: ParameterTable
    plan: TrainingPlan

    def init(self, weights: FlatVector) -> AlgorithmState:
        """The state before round 1, with `weights` float32 [P].

        Raises:
            FedvoiceError: `bad-plugin` for an optimiser that cannot be loaded.
        """
        return AlgorithmState(weights, optimizers.init(self.config.optimizer, self.table))

    def plan_for(self, number: int) -> TrainingPlan:
        """The plan of round `number` (from 1)."""
        return plan_for_round(self.config.plan_schedule, self.plan, number, self.config.rounds)

    def reference(self, state: AlgorithmState) -> Reference:
        """What clients are given of `state`, to train from or to evaluate.

        Raises:
            FedvoiceError: `not-finite` if the encoding cannot hold a weight.
        """
        return reference_of(state.weights, self.config.download_encoding)

    @cached_property
    def chain(self) -> Chain:
        """The update links.

        Raises:
            FedvoiceError: `bad-plugin`, `bad-config` as `algorithm.links.make_chain`.
        """
        chain = make_chain(
            self.config.links,
            max_weight=self.config.max_client_examples,
            max_abs=self.config.max_update_abs,
        )
        check_spooled(chain, self.config.places)
        return chain

    @cached_property
    def frozen(self) -> tuple[slice, ...]:
        """Slices of the vector that the plan does not train. Their delta is set to 0, for clients
        of releases that do not know `trainable`.

        Raises:
            FedvoiceError: `bad-config` if a prefix of `trainable` matches no parameter.
        """
        return frozen_parts(self.plan, self.table)

    @property
    def limits(self) -> UpdateLimits:
        """The bounds that updates are checked against."""
        config = self.config
        return UpdateLimits(
            config.grid_bits,
            config.max_update_abs,
            config.max_update_norm,
            config.max_client_examples,
            config.max_loss,
            config.max_memory_bytes,
            config.max_train_secs,
        )

    def started(
        self,
        rules: RoundRules,
        time_secs: float,
        candidates: Sequence[str],
        declared: Sequence[int],
        norms: NormHistory,
    ) -> Started:
        """A training round's beginning, with the limits of one client's update.

        Args:
            candidates: clients to invite, in the order drawn.
            declared: training examples of those that are invited first, or of those that may come
                to a round that is open to all.
            norms: of the training rounds before.
        """
        config, plan = self.config, self.plan_for(rules.number)
        most = min(config.max_client_examples, plan.data_limit or config.max_client_examples)
        usable = [min(examples, most) for examples in declared if examples > 0]
        goal = goal_of(rules, len(candidates))
        bound = norm_bound(norms.norms, config.norm_bound_factor, norms.abandoned)
        return Started(
            time_secs,
            tuple(candidates),
            weight_cap(usable, config.max_client_share, goal),
            bound if goal >= FEWEST else 0.0,
        )

    def accumulator(self) -> Accumulator:
        """An empty sum for one round."""
        return self.limits.accumulator(self.table.total_size)

    def delta(self, total: Accumulator, spooled: Sequence[Spooled] = ()) -> FlatVector:
        """The round's delta float32 [P]: the weighted mean, or the cohort rule's result on the
        updates."""
        if self.chain.needs_updates:
            return self.chain.combine(spooled, self.table.total_size)
        return total.mean()

    def apply(self, state: AlgorithmState, delta: FlatVector, number: int) -> AlgorithmState:
        """The state after round `number` with `delta` float32 [P], whose frozen parts are set to 0
        in place."""
        for part in self.frozen:
            delta[part] = 0
        weights, optimizer = optimizers.apply(
            self.config.optimizer,
            state.optimizer,
            state.weights,
            delta,
            table=self.table,
            number=number,
            rounds=self.config.rounds,
        )
        return replace(state, weights=weights, optimizer=optimizer, number=number)

    def account(
        self,
        state: AlgorithmState,
        number: int,
        accepted: Sequence[Counts],
        *,
        bytes_down: int,
        bytes_up: int,
    ) -> tuple[AlgorithmState, RoundAccount]:
        """Finalise round `number`, committed or abandoned: add its costs. Bytes are those of all
        its clients; the formula charges each accepted client an equal share of them."""
        plan = self.plan_for(number)
        row = books.account(
            state.costs,
            accepted,
            bytes_down=bytes_down,
            bytes_up=bytes_up,
            alpha=self.config.alpha,
            formula=FormulaTerms(
                payload_bytes=(bytes_down + bytes_up) / max(1, len(accepted)),
                local_epochs=plan.local_epochs,
                batch_size=plan.batch_size,
            ),
        )
        return replace(state, number=number, costs=row.costs), row

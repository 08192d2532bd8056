"""The plan of each round. The server computes it, so clients need no schedule."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from fedvoice.algorithm.rates import RateSchedule, rate_multiplier
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.plan import RuleOption, TrainingPlan


class PlanSchedule(BaseModel):
    """What `plan_for_round` varies; by default nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fvn_ramp_rounds: int = Field(default=0, ge=0)
    """FVN's noise grows linearly to the plan's `fvn_std` over so many rounds; 0: no ramp."""
    client_rate: RateSchedule = RateSchedule()
    """Warm-up and decay of the plan's `client_rate`."""
    local_epochs_halve_every: int = Field(default=0, ge=0)
    """Halve the local epochs after every so many rounds; 0: never."""


def plan_for_round(
    schedule: PlanSchedule, plan: TrainingPlan, number: int, rounds: int
) -> TrainingPlan:
    """The plan of round `number` (from 1) of `rounds`, from the job's `plan`.

    fvn_std grows linearly: 0 in round 1, whole after `fvn_ramp_rounds` (Guliani et al. 2020,
    section 4.2.2, ramps it so). local_epochs is halved, rounded down to at least 1, every
    `local_epochs_halve_every` rounds: many local epochs help early and slow convergence later
    (McMahan et al. 2017, section 3). A function of its arguments alone, so a restarted
    server gives the same plan. A client rule's rate is its option `rate`.

    Raises:
        FedvoiceError: `bad-config` if the rate varies and the plan's rule has no option `rate`.
    """
    done = max(0, number - 1)
    ramp, every = schedule.fvn_ramp_rounds, schedule.local_epochs_halve_every
    halvings = done // every if every else 0
    multiplier = rate_multiplier(schedule.client_rate, number, rounds)
    return plan.model_copy(
        update={
            "fvn_std": plan.fvn_std * (min(1.0, done / ramp) if ramp else 1.0),
            "client_rate": plan.client_rate * multiplier,
            "local_epochs": max(1, plan.local_epochs >> halvings),
            **(_rule_options(schedule, plan, multiplier) if plan.client_rule else {}),
        }
    )


def _rule_options(
    schedule: PlanSchedule, plan: TrainingPlan, multiplier: float
) -> dict[str, tuple[tuple[str, RuleOption], ...]]:
    if schedule.client_rate == RateSchedule():
        return {}
    options = dict(plan.client_rule_options)
    rate = options.get("rate")
    if isinstance(rate, str | bool) or rate is None:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="plan_schedule, client_rate",
            got=f"client rule {plan.client_rule} with options {options}",
            wanted="an option `rate`, a number, which the schedule varies",
            next_step="Give the rule a rate, or leave the schedule out.",
        )
    return {"client_rule_options": tuple({**options, "rate": rate * multiplier}.items())}

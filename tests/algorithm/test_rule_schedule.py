"""A schedule of the clients' rate varies a client rule's own rate."""

from __future__ import annotations

import pytest

from fedvoice.algorithm.plan_schedule import PlanSchedule, plan_for_round
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.plan import TrainingPlan

SCHEDULE = PlanSchedule.model_validate({"client_rate": {"warm_up_rounds": 4}})


def plan(**options: object) -> TrainingPlan:
    return TrainingPlan.model_validate({"client_rule": "sgd", "client_rule_options": options})


def test_the_schedule_varies_the_rules_rate() -> None:
    job = plan(rate=0.8, momentum=0.9)
    usual = [plan_for_round(SCHEDULE, TrainingPlan(client_rate=0.8), n, 9) for n in range(1, 10)]
    by_rule = [plan_for_round(SCHEDULE, job, n, 9) for n in range(1, 10)]
    assert [dict(p.client_rule_options)["rate"] for p in by_rule] == [p.client_rate for p in usual]
    assert by_rule[0] != by_rule[-1] == job
    assert plan_for_round(PlanSchedule(), job, 1, 9) == job


@pytest.mark.parametrize("options", [{}, {"rate": "fast"}])
def test_a_rule_without_a_rate_has_none_to_vary(options: dict[str, object]) -> None:
    with pytest.raises(FedvoiceError) as caught:
        plan_for_round(SCHEDULE, plan(**options), 1, 9)
    assert caught.value.code is ErrorCode.BAD_CONFIG
    assert plan_for_round(PlanSchedule(), plan(**options), 1, 9) == plan(**options)

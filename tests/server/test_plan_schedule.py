"""Rates and plans from round to round: numbers by hand, and what phones are sent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvoice.algorithm.plan_schedule import PlanSchedule, plan_for_round
from fedvoice.algorithm.rates import RateSchedule, rate_multiplier
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.server.config import ServerConfig
from fedvoice.server.store.ledger import round_rows

PLAN = TrainingPlan(local_epochs=8, batch_size=3, client_rate=0.5, fvn_std=0.02)


def multipliers(rounds: int = 10, **fields: object) -> list[float]:
    schedule = RateSchedule.model_validate(fields)
    return [rate_multiplier(schedule, number, rounds) for number in range(1, rounds + 1)]


def test_without_a_schedule_a_rate_stays_what_it_is():
    assert multipliers() == [1.0] * 10


def test_decays_begin_at_the_whole_rate_and_end_short_of_the_floor():
    assert multipliers(4, schedule="linear") == [1, 0.75, 0.5, 0.25]
    assert multipliers(4, schedule="linear", floor=0.5) == [1, 0.875, 0.75, 0.625]
    assert multipliers(4, schedule="exponential", floor=1 / 16) == [1, 1 / 2, 1 / 4, 1 / 8]
    assert multipliers(3, schedule="cosine") == pytest.approx([1, 0.75, 0.25])
    assert multipliers(3, schedule="cosine", floor=0.2) == pytest.approx([1, 0.8, 0.4])


def test_warm_up_and_decay_go_together():
    assert multipliers(6, warm_up_rounds=4) == [0.25, 0.5, 0.75, 1, 1, 1]
    warmed = multipliers(6, warm_up_rounds=2, schedule="linear")
    assert warmed == [0.5, 1, 1, 0.75, 0.5, 0.25]


@given(
    st.sampled_from(["constant", "linear", "cosine", "exponential"]),
    st.integers(0, 12),
    st.floats(0.01, 1),
    st.integers(-1, 40),
    st.integers(0, 30),
)
def test_a_rate_is_never_nothing_and_never_more_than_the_whole(kind, warm_up, floor, number, all_):
    schedule = RateSchedule(schedule=kind, warm_up_rounds=warm_up, floor=floor)
    assert 0 < rate_multiplier(schedule, number, all_) <= 1
    if kind != "exponential":
        to_nothing = schedule.model_copy(update={"floor": 0.0})
        assert 0 < rate_multiplier(to_nothing, number, all_) <= 1


def test_a_plan_without_a_schedule_is_every_rounds_plan():
    assert all(plan_for_round(PlanSchedule(), PLAN, number, 9) == PLAN for number in (0, 1, 9))


def test_noise_grows_from_nothing_to_the_plans():
    schedule = PlanSchedule(fvn_ramp_rounds=4)
    stds = [plan_for_round(schedule, PLAN, n, 9).fvn_std for n in (0, 1, 2, 3, 5, 9)]
    assert stds == [0, 0, 0.005, 0.01, 0.02, 0.02]


def test_local_epochs_are_halved_down_to_one():
    schedule = PlanSchedule(local_epochs_halve_every=2)
    epochs = [plan_for_round(schedule, PLAN, n, 99).local_epochs for n in (1, 2, 3, 5, 7, 9, 99)]
    assert epochs == [8, 8, 4, 2, 1, 1, 1]


def test_the_clients_rate_warms_up_and_decays():
    schedule = PlanSchedule(client_rate=RateSchedule(warm_up_rounds=2, schedule="linear"))
    rates = [plan_for_round(schedule, PLAN, n, 6).client_rate for n in range(1, 7)]
    assert rates == [0.25, 0.5, 0.5, 0.375, 0.25, 0.125]


SCHEDULE = {
    "fvn_ramp_rounds": 2,
    "local_epochs_halve_every": 1,
    "client_rate": {"schedule": "linear"},
}


def test_phones_are_sent_the_rounds_plan_and_the_books_know_it(lab):
    """Also by a server that was started again in between."""
    package = lab.package(plan=PLAN)
    config = {"rounds": 4, "cohort_size": 1, "plan_schedule": SCHEDULE}
    schedule = ServerConfig.model_validate(config).plan_schedule
    sent: list[TrainingPlan] = []
    for _ in range(2):
        server, address = lab.serve(package, **config)
        phone = lab.phone(address, "anna", train_examples=12)
        for _ in range(2):
            work = phone.wait_for_work()
            sent.append(TrainingPlan.from_message(work.plan))
            phone.report_delta(work, np.ones(8, np.float32), 12, steps=1)
        if len(sent) == 2:
            # The third round is open, its plan given: the server that goes on gives the same.
            again = TrainingPlan.from_message(phone.wait_for_work().plan)
        else:
            assert server.wait_finished(20)
        server.stop()
    assert sent == [plan_for_round(schedule, PLAN, number, 4) for number in (1, 2, 3, 4)]
    assert [plan.local_epochs for plan in sent] == [8, 4, 2, 1]
    assert again == sent[2]
    # nu = e N / (b K) mu, added up round by round: e = 8, 4, 2, 1; 12 / 3 batches; mu = 1000.
    analytic = [row.cfmq_analytic_compute_bytes for row in round_rows(server.store_dir)]
    assert analytic == [e * 4 * 1000 for e in (8, 12, 14, 15)]

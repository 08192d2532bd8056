"""Settings are refused with the field named; the schedule of rounds follows from them."""

from __future__ import annotations

import pytest

from fedvoice.algorithm.rounds import Phase, RoundRules, RoundState, Work
from fedvoice.algorithm.schedule import following
from fedvoice.protocol.addresses import is_loopback
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.server.config import ServerConfig, parse_config, read_config_fields
from fedvoice.server.rounds.pace import expected_wait_secs, invitation_secs, window


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"round": 3}, "round"),
        ({"rounds": "many"}, "rounds"),
        ({"optimizer": {"name": "lion"}}, "optimizer.name"),
        ({"optimizer": {"betas": [0.9, 1.0]}}, "optimizer"),
        ({"optimizer": {"schedule": "exponential"}}, "floor"),
        ({"plan_schedule": {"client_rate": {"schedule": "step"}}}, "client_rate.schedule"),
        ({"plan": {"local_epochs": 0}}, "plan.local_epochs"),
        ({"max_update_abs": 1e9}, "2^grid_bits"),
        ({"cohort_size": 5000}, "2^grid_bits"),
        ({"bind": "8700"}, "bind"),
        ({"bind": "127.0.0.1:99999"}, "bind"),
        ({"bind": ":8700"}, "bind"),
    ],
)
def test_a_wrong_setting_is_named(fields, named):
    with pytest.raises(FedvoiceError) as caught:
        parse_config(fields, "server.toml")
    assert caught.value.code is ErrorCode.BAD_CONFIG
    assert named in str(caught.value)


def test_a_file_that_is_not_there_or_not_toml(tmp_path):
    with pytest.raises(FedvoiceError) as caught:
        read_config_fields(tmp_path / "none.toml")
    assert caught.value.code is ErrorCode.NOT_FOUND
    (tmp_path / "bad.toml").write_text("rounds = = 3")
    with pytest.raises(FedvoiceError) as caught:
        read_config_fields(tmp_path / "bad.toml")
    assert caught.value.code is ErrorCode.BAD_CONFIG


def schedule(**fields):
    config, last, order = ServerConfig.model_validate(fields), None, []
    while (last := following(config, last)) is not None:
        order.append(("E" if last[1] is Work.EVALUATE else "T") + str(last[0]))
    return " ".join(order)


def test_the_schedule_of_rounds():
    assert schedule(rounds=2) == "T1 T2"
    assert schedule(rounds=3, evaluate_every=2, evaluate_first=True) == "E0 T1 T2 E2 T3 E3"
    assert schedule(rounds=2, evaluate_every=5) == "T1 T2 E2"
    assert schedule(rounds=0, evaluate_first=True) == "E0"


def test_over_selection_asks_that_many_phones():
    assert ServerConfig(cohort_size=10, over_selection=1.3).places == 13
    assert ServerConfig(cohort_size=3, over_selection=1.1).places == 4


def test_retry_windows_lie_between_the_bounds_and_within_a_lease():
    config = ServerConfig.model_validate(
        {"lease_secs": 100, "retry": {"least_secs": 5, "most_secs": 600, "spread": 0.5}}
    )
    assert (window(config, 0).min_secs, window(config, 0).max_secs) == (5, 7.5)
    assert (window(config, 20).min_secs, window(config, 20).max_secs) == (20, 30)
    # A phone that stays away for longer than a lease would miss its invitation.
    assert window(config, 9999).max_secs == 50


def test_many_phones_are_told_to_come_back_at_a_rate_that_the_server_takes():
    config = ServerConfig.model_validate({"lease_secs": 100, "retry": {"most_calls_per_sec": 50}})
    told = window(config, 0, clients=100_000)
    assert (told.min_secs, told.max_secs) == (5, 3995)
    assert invitation_secs(config, 100_000) > told.max_secs
    assert window(config, 0, clients=10).max_secs == 7.5
    assert invitation_secs(config, 10) == 100


def test_the_first_round_is_asked_after_at_ever_longer_distances_then_as_long_as_the_last_took():
    rules = RoundRules("job", 1, Work.TRAIN, 2, 2, 0.5, lease_secs=300, timeout_secs=600)
    state = RoundState(rules, Phase.TRAINING, started_secs=1000.0)
    assert [expected_wait_secs(state, None, 1000.0 + t) for t in (0, 7, 20)] == [0, 7, 20]
    assert [expected_wait_secs(state, 30.0, 1000.0 + t) for t in (0, 7, 40)] == [30, 23, 0]


@pytest.mark.parametrize(
    ("bind", "inside"),
    [
        ("127.0.0.1:8700", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("0.0.0.0:8700", False),
        ("[::]:8700", False),
        ("server.example:1", False),
    ],
)
def test_only_loopback_is_quiet_about_plain_traffic(bind, inside):
    assert is_loopback(bind) is inside

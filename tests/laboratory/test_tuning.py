"""A search for plans: what it proposes, gives up, keeps, and says in the end."""

import json
import os
import signal
import subprocess
import sys

import pytest
from optuna.trial import TrialState

from fedvoice.laboratory.experiment.outcome import Point
from fedvoice.laboratory.tuning.config import load_tuning
from fedvoice.laboratory.tuning.pruning import MedianRule
from fedvoice.laboratory.tuning.report import Verdict
from fedvoice.laboratory.tuning.study import Search, held
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from tests.laboratory import dying
from tests.laboratory.feature_corpus import base_toml, write_corpus

SEARCH = """
[search]
trials = {trials}
verify_seeds = [7]

[search.space]
"plan.client_rate" = {{ low = 0.05, high = 2.0, log = true }}
"plan.data_limit" = {{ choices = [0, 4] }}

[[search.known]]
"plan.client_rate" = 0.05
"plan.data_limit" = 4
"""


@pytest.fixture
def search_file(tmp_path):
    def write(trials, rounds=4, extra="", search=SEARCH):
        manifest = write_corpus(tmp_path / "corpus")
        path = tmp_path / "search.toml"
        head = 'name = "search"\n' + base_toml(manifest, rounds)
        path.write_text(head + search.format(trials=trials) + extra)
        return path

    return write


def point(round_number, rate, gigabytes):
    return Point(round_number, {"pooled": rate}, gigabytes * 1e9, 0.0, 0.0)


def test_a_run_worse_than_the_median_at_the_same_cost_is_given_up():
    curves = (
        ((1e9, 90.0), (2e9, 60.0)),
        ((1e9, 80.0), (2e9, 40.0)),
        ((1e9, 70.0), (2e9, 20.0)),
    )
    rule = MedianRule("pooled", curves, least_bytes=1e9)
    assert not rule(point(1, 100.0, 0.5))  # too early to tell
    assert rule(point(1, 81.0, 1.5))  # at that cost the median was 80
    assert not rule(point(1, 80.0, 1.5))
    assert rule(point(2, 41.0, 2.0))


def test_the_verdict_says_which_plan_wins():
    better = Verdict({}, best=(10.0, 12.0), known=(20.0, 22.0))
    assert "beats it by 10.0 points" in str(better)
    assert "does not beat it" in str(Verdict({}, best=(10.0,), known=(9.0,)))


def test_a_search_that_makes_no_sense_is_named(search_file):
    with pytest.raises(FedvoiceError, match="names every dimension") as odd:
        load_tuning(search_file(2, extra='\n[[search.known]]\n"plan.client_rate" = 1.0\n'))
    assert odd.value.code is ErrorCode.BAD_CONFIG
    path = search_file(2)
    path.write_text(path.read_text().replace("low = 0.05, ", ""))
    with pytest.raises(FedvoiceError, match="choices, or low and high"):
        load_tuning(path)


@pytest.mark.parametrize("seeds", ["[]", "[7, 7]", "[100]"])
def test_a_plan_is_verified_on_seeds_that_no_trial_saw(search_file, seeds):
    path = search_file(2)
    path.write_text(path.read_text().replace("verify_seeds = [7]", f"verify_seeds = {seeds}"))
    with pytest.raises(FedvoiceError, match="field search"):
        load_tuning(path)


@pytest.mark.slow
def test_a_search_by_what_no_run_is_judged_on_ends_and_says_so(search_file, tmp_path):
    path = search_file(2, rounds=1)
    text = path.read_text().replace("holdout_speakers = 1", "holdout_speakers = 0")
    path.write_text(f'metric = "heldout_wer"\n{text}')
    search = Search(load_tuning(path), tmp_path / "out", tmp_path / "trials", str(path))
    with pytest.raises(FedvoiceError, match="metric heldout_wer") as caught:
        search.run(1, lambda number, told: None, lambda progress: None)
    assert caught.value.code is ErrorCode.BAD_CONFIG


BOUNDS = """
[search]
trials = {trials}
verify_seeds = [7]

[search.space]
"server.max_update_abs" = {{ choices = [1e-9, 16.0] }}

[[search.known]]
"server.max_update_abs" = 1e-9

[[search.known]]
"server.max_update_abs" = 16.0
"""


@pytest.mark.slow
def test_a_plan_of_which_no_update_counts_is_a_trial_given_up(search_file, tmp_path):
    """Even as the first one it ends no search."""
    path, told = search_file(2, rounds=1, search=BOUNDS), []
    search = Search(load_tuning(path), tmp_path / "out", tmp_path / "trials", str(path))
    search.run(1, lambda number, words: told.append(words), lambda progress: None)
    assert [t.state for t in search.study.get_trials()] == [TrialState.PRUNED, TrialState.COMPLETE]
    assert "pruned, " in told[0]
    assert "no-updates" in told[0]


LIMITS = """
[search]
trials = {trials}
verify_seeds = [7]

[search.space]
"plan.data_limit" = {{ choices = [0, 4] }}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deaths", "limits", "states"),
    [
        (1, [4, 0], [TrialState.COMPLETE, TrialState.COMPLETE]),
        (3, [0, 4, 0], [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]),
        (3, [4, 0], None),
    ],
    ids=["tried again", "failed", "the first one cannot be run"],
)
def test_a_trial_whose_worker_dies_is_tried_again_or_fails(
    search_file, tmp_path, deaths, limits, states
):
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / dying.LEFT_FILE).write_text(str(deaths))
    known = "".join(f'\n[[search.known]]\n"plan.data_limit" = {limit}\n' for limit in limits)
    path, told = search_file(2, rounds=1, search=LIMITS, extra=known), []
    search = Search(
        load_tuning(path),
        tmp_path / "out",
        tmp_path / "trials",
        str(path),
        work=dying.die_at_limited_data,
    )

    def run():
        search.run(1, lambda number, words: told.append(words), lambda progress: None)

    if states is None:
        with pytest.raises(FedvoiceError, match="trial 0: got 3 worker processes") as caught:
            run()
        assert caught.value.code is ErrorCode.CLIENT_LOST
        return
    run()
    assert [t.state for t in search.study.get_trials()] == states
    assert ["client-lost" in words for words in told] == [s is TrialState.FAIL for s in states]


def test_known_plans_come_first(search_file, tmp_path):
    path = search_file(3)
    config = load_tuning(path)
    search = Search(config, tmp_path / "out", tmp_path / "trials", str(path))
    assert search.study.ask().params == {}  # params are filled in by the space
    waiting = search.study.get_trials(states=(TrialState.RUNNING,))
    assert [t.system_attrs["fixed_params"] for t in waiting] == [
        {"plan.client_rate": 0.05, "plan.data_limit": 4}
    ]


def test_trials_of_another_search_are_not_compared_with_this_ones(search_file, tmp_path):
    path = search_file(3)

    def search():
        return Search(load_tuning(path), tmp_path / "out", tmp_path / "trials", str(path))

    search()
    search()
    path.write_text(path.read_text().replace("clip_norm = 3.0", "clip_norm = 1.0"))
    with pytest.raises(FedvoiceError, match="trials of another corpus, base") as caught:
        search()
    assert caught.value.code is ErrorCode.BAD_CONFIG


def test_a_resumed_search_proposes_new_points(search_file, tmp_path):
    """Each sitting ends while its third trial runs, which the next one tries again."""
    path, points, running = search_file(40), [], None
    for _ in range(4):
        search = Search(load_tuning(path), tmp_path / "out", tmp_path / "trials", str(path))
        for place in range(3):
            asked, _ = search._ask()
            if running is not None and place == 0:
                assert asked.params == running
            if place < 2:
                points.append(str(asked.params))
                search.study.tell(asked, [50.0 + asked.number, 1e9])
            running = asked.params
    assert len(set(points)) == len(points) == 8


@pytest.mark.parametrize("finished", [0, 1])
def test_a_search_goes_on_when_most_points_came_to_nothing(search_file, tmp_path, finished):
    path = search_file(40)
    search = Search(load_tuning(path), tmp_path / "out", tmp_path / "trials", str(path))
    while search.finished < 40:
        asked, _ = search._ask()
        if asked.number < finished:
            search.study.tell(asked, [50.0, 1e9])
        else:
            search.study.tell(asked, state=TrialState.PRUNED)
    assert len({str(t.params) for t in search.study.get_trials()}) == 40


def test_points_near_the_pruned_ones_are_avoided(search_file, tmp_path):
    """What the report says of pruned trials: poor ones, to the sampler."""
    path = search_file(120)
    search = Search(load_tuning(path), tmp_path / "out", tmp_path / "trials", str(path))
    while search.finished < 60:
        asked, _ = search._ask()
        rate = asked.params["plan.client_rate"]
        if rate > 0.3:  # half of the range, by its logarithm
            search.study.tell(asked, state=TrialState.PRUNED)
        else:
            search.study.tell(asked, [100 * rate, 1e9 * (1 - rate)])
    later = [t.params["plan.client_rate"] > 0.3 for t in search.study.get_trials()[20:]]
    assert sum(later) / len(later) < 0.25


SMALL = """
[search]
trials = {trials}
verify_seeds = [7]

[search.space]
"plan.data_limit" = {{ low = 2, high = 6, step = 2, integer = true }}
"plan.clip_norm" = {{ low = 0.1, high = 0.3, step = 0.1 }}
"""


def test_a_small_space_is_tried_to_its_end_and_no_point_twice(search_file, tmp_path):
    path = search_file(40, search=SMALL)
    search = Search(load_tuning(path), tmp_path / "out", tmp_path / "trials", str(path))
    while (asked := search._ask()) is not None:
        search.study.tell(asked[0], [float(asked[0].number), 1e9])
    points = [t.params for t in search.study.get_trials()]
    assert len(points) == 9
    assert {p["plan.data_limit"] for p in points} == {2, 4, 6}
    assert {round(p["plan.clip_norm"], 9) for p in points} == {0.1, 0.2, 0.3}


def test_a_second_search_in_the_same_folder_is_refused(search_file, tmp_path):
    """Not: the first one's running trial is declared dead, and its result lost."""
    path, out = search_file(3), tmp_path / "out"
    with held(out):
        second = fedvoice(path, "--out", out, "--trials-dir", tmp_path / "trials", "--jobs", 1)
        _, errors = second.communicate(timeout=60)
    assert second.returncode == 2
    assert "exists" in errors
    assert "another process searches in this folder" in errors
    assert not (out / "study.db").exists()
    held(out).close()  # free again


def fedvoice(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "fedvoice", "tune", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_killed_search_goes_on_and_tells_whether_it_beat_the_hand_set_plan(search_file, tmp_path):
    path, out = search_file(5, rounds=6), tmp_path / "out"
    arguments = (path, "--out", out, "--trials-dir", tmp_path / "trials", "--jobs", 1)
    first = fedvoice(*arguments)
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("[2/5]"):
            break
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    second = fedvoice(*arguments)
    told, errors = second.communicate(timeout=240)
    assert second.returncode == 0, errors
    assert "2 of 5 trials are done" in told
    assert "[5/5]" in told
    header, *trials = (out / "trials.csv").read_text().splitlines()
    assert header == "trial,state,error_percent,cfmq_bytes,plan.client_rate,plan.data_limit"
    assert sum(",complete," in t or ",pruned," in t for t in trials) == 5
    # The plan to beat barely learns in so few rounds; anything that learns beats it.
    best = json.loads((out / "best.json").read_text())
    assert best["best"][0] <= best["known"][0]
    assert "hand-set plan" in told
    assert "<svg" in (out / "report.html").read_text()

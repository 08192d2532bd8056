"""Law 1 on a cluster of two machines (two Ray nodes of a core each, on loopback)."""

import os
from unittest.mock import Mock

import pytest

from fedvoice.laboratory.experiment.config import load_experiment
from fedvoice.laboratory.experiment.progress import trial_dir
from fedvoice.laboratory.experiment.runner import run_trials
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import WEIGHTS_FILE
from fedvoice.simulation.workers.ray_pool import (
    START_SECS,
    START_TRIES,
    RayPool,
    answers,
    connect,
    start_patiently,
)
from fedvoice.simulation.workers.spread import HERE, Spread
from tests.laboratory.backends_scene import (
    CLIENTS,
    assert_same,
    inline_part,
    round_work,
    worker_spec,
)
from tests.laboratory.running import run_trial

# Read when ray is imported: a cluster that keeps to loopback, and tells nobody of its use.
os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
ray = pytest.importorskip("ray", reason="the `ray` extra is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

STORE_BYTES = 100 * 2**20


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}

    def start():
        made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        try:
            made.add_node(**node)
        except Exception:
            made.shutdown()  # the next try makes both anew: a node given up may yet join this one
            raise
        return made

    made = start_patiently(start)
    connect(made.address)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def pool_of(cluster):
    made = []

    def make(workers=2, start_secs=60.0, **mishap):
        made.append(RayPool(worker_spec(**mishap), workers, start_secs))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def test_law_1_two_machines_come_to_the_same_model(pool_of):
    pool = pool_of()
    for number in (1, 2):
        assert_same(pool.train(round_work(number), CLIENTS), inline_part(number))
    assert len(pool.actors) == 2


def test_the_share_of_a_killed_worker_is_done_again_by_another(pool_of, tmp_path):
    pool = pool_of(mishap="killed", at="client09", marker=tmp_path / "killed")
    assert_same(pool.train(round_work(), CLIENTS), inline_part())
    assert (tmp_path / "killed").exists()
    assert len(pool.actors) == 1


def test_when_every_worker_is_killed_the_error_says_so(pool_of):
    with pytest.raises(FedvoiceError, match="all of them ended") as failed:
        pool_of(mishap="killed", at="client09").train(round_work(), CLIENTS)
    assert failed.value.code is ErrorCode.CLIENT_LOST


def test_what_a_worker_cannot_do_is_told_as_it_would_be_here(pool_of):
    with pytest.raises(FedvoiceError, match="the corpus") as failed:
        pool_of(mishap="unreadable").train(round_work(), CLIENTS)
    assert type(failed.value) is FedvoiceError
    assert failed.value.code is ErrorCode.NOT_FOUND


def test_more_workers_than_cores_are_done_without(pool_of):
    pool = pool_of(workers=3, start_secs=15.0)
    assert_same(pool.train(round_work(), CLIENTS), inline_part())
    assert len(pool.actors) == 2


def test_no_worker_is_given_up_while_others_still_come():
    after_secs = {"one": 100.0, "two": 110.0, "three": 125.0, "never": 1e9}
    now = 0.0

    def wait(asked, num_returns, timeout):
        nonlocal now
        first = min(asked, key=after_secs.get)
        came = after_secs[first] <= now + timeout
        now = after_secs[first] if came else now + timeout
        return ([first], [name for name in asked if name != first]) if came else ([], asked)

    assert answers(wait, list(after_secs), start_secs=20.0) == ["one", "two", "three"]
    assert now == 145.0
    now = 0.0
    assert answers(wait, ["never"], start_secs=20.0) == []
    assert now == START_SECS


SLOW = Exception("The current node timed out during startup. This could happen because ...")


def test_ray_that_does_not_come_up_on_a_busy_machine_is_started_again():
    start = Mock(side_effect=[SLOW] * (START_TRIES - 1) + ["up"])
    assert start_patiently(start) == "up"


def test_a_machine_too_busy_for_ray_is_told_after_the_last_try():
    start = Mock(side_effect=SLOW)
    with pytest.raises(FedvoiceError, match="when it is less busy") as failed:
        start_patiently(start)
    assert failed.value.code is ErrorCode.SERVER_UNREACHABLE
    assert start.call_count == START_TRIES


def test_what_keeps_ray_from_starting_otherwise_is_told_at_once():
    start = Mock(side_effect=OSError("no space left"))
    with pytest.raises(OSError, match="no space left"):
        start_patiently(start)
    assert start.call_count == 1


class Heard:
    """Rounds that trials reported, and trials that ended."""

    def __init__(self):
        self.rounds, self.ended = set(), []

    def progressed(self, trial, progress):
        self.rounds.add(progress.done)

    def finished(self, trial, outcome, error):
        self.ended.append((outcome, error))


@pytest.mark.parametrize("workers", [1, 2])
def test_law_1_a_trial_on_the_cluster_comes_to_the_same_weights(
    cluster, experiment, tmp_path, workers
):
    (trial,) = load_experiment(experiment).narrowed([0], ["all"], "test").trials("test")
    here, there, heard = tmp_path / "here", tmp_path / "there", Heard()
    run_trial(trial, here, tmp_path / "tasks", lambda progress: None, lambda: False)
    gathered = run_trials([trial], there, 2, heard, Spread(workers, "ray"))
    assert not gathered.failures
    assert heard.ended == [(gathered.outcomes[0], None)]
    assert 1 in heard.rounds
    found = trial_dir(there, trial) / WEIGHTS_FILE
    assert found.read_bytes() == (here / WEIGHTS_FILE).read_bytes()
    assert run_trials([trial], there, 2, Heard(), HERE).outcomes  # done: it is not run again


def test_a_trial_that_cannot_be_run_there_is_told_as_one_here(cluster, experiment, tmp_path):
    # With tokens given the manifest is first read where the trial runs.
    manifest = str(tmp_path / "none.jsonl")
    settings = {"data.manifest": manifest, "task.vocabulary.tokens": ["yes"]}
    trials = load_experiment(experiment, settings).narrowed([0], ["all"], "test").trials("test")
    gathered = run_trials(trials, tmp_path, 2, Heard(), Spread(pool="ray"))
    (failure,) = gathered.failures
    assert failure.error.code is ErrorCode.NOT_FOUND


def test_a_machine_that_is_lost_costs_its_share_alone(pool_of, cluster):
    # The last test: the machine does not come back.
    pool = pool_of()
    pool.train(round_work(), CLIENTS)
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    assert_same(pool.train(round_work(2), CLIENTS), inline_part(2))
    assert len(pool.actors) == 1

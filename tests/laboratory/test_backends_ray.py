"""Law 1 on a cluster of two machines (two Ray nodes of a core each, on loopback)."""

import os

import pytest

from laboratory.ray_backend import RayBackend, connect
from protocol.errors import ErrorCode, FedvoiceError
from tests.laboratory.backends_scene import (
    CLIENTS,
    assert_same,
    inline_part,
    round_work,
    worker_spec,
)

# Read when ray is imported: a cluster that keeps to loopback, and tells nobody of its use.
os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
ray = pytest.importorskip("ray", reason="the `ray` extra is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

STORE_BYTES = 100 * 2**20


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    made.add_node(**node)
    connect(made.address)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def backend_of(cluster):
    made = []

    def make(workers=2, start_secs=60.0, **mishap):
        made.append(RayBackend(worker_spec(**mishap), workers, start_secs))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def test_law_1_two_machines_come_to_the_same_model(backend_of):
    backend = backend_of()
    for number in (1, 2):
        assert_same(backend.train(round_work(number), CLIENTS), inline_part(number))
    assert len(backend.actors) == 2


def test_the_share_of_a_killed_worker_is_done_again_by_another(backend_of, tmp_path):
    backend = backend_of(mishap="killed", at="client09", marker=tmp_path / "killed")
    assert_same(backend.train(round_work(), CLIENTS), inline_part())
    assert (tmp_path / "killed").exists()
    assert len(backend.actors) == 1


def test_when_every_worker_is_killed_the_error_says_so(backend_of):
    with pytest.raises(FedvoiceError, match="all of them ended") as failed:
        backend_of(mishap="killed", at="client09").train(round_work(), CLIENTS)
    assert failed.value.code is ErrorCode.CLIENT_LOST


def test_what_a_worker_cannot_do_is_told_as_it_would_be_here(backend_of):
    with pytest.raises(FedvoiceError, match="the corpus") as failed:
        backend_of(mishap="unreadable").train(round_work(), CLIENTS)
    assert type(failed.value) is FedvoiceError
    assert failed.value.code is ErrorCode.NOT_FOUND


def test_more_workers_than_cores_are_done_without(backend_of):
    backend = backend_of(workers=3, start_secs=30.0)
    assert_same(backend.train(round_work(), CLIENTS), inline_part())
    assert len(backend.actors) == 2


def test_a_machine_that_is_lost_costs_its_share_alone(backend_of, cluster):
    # The last test: the machine does not come back.
    backend = backend_of()
    backend.train(round_work(), CLIENTS)
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    assert_same(backend.train(round_work(2), CLIENTS), inline_part(2))
    assert len(backend.actors) == 1

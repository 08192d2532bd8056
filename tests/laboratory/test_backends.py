"""Law 1 across processes: how a cohort is split among workers changes no bit of the model."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from fedvoice.algorithm.settings import LinkConfig
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.simulation.cohort import spooled_updates
from fedvoice.simulation.workers.pool import split_cohort
from fedvoice.simulation.workers.processes import ProcessPool
from tests.laboratory.backends_scene import (
    CLIENTS,
    assert_same,
    inline_part,
    round_work,
    worker_spec,
)


@pytest.fixture
def pool_of():
    made = []

    def make(workers=2, **mishap):
        made.append(ProcessPool(worker_spec(**mishap), workers))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def test_groups_that_train_together_are_dealt_whole():
    assert split_cohort("abcdefg", workers=2, together=3) == [["a", "b", "c", "g"], ["d", "e", "f"]]
    assert split_cohort("ab", workers=4) == [["a"], ["b"]]


def test_law_1_worker_processes_come_to_the_same_model(pool_of):
    pool = pool_of(workers=2)
    assert np.any(inline_part().total.mean())
    for number in (1, 2):  # the second round with the workers of the first
        assert_same(pool.train(round_work(number), CLIENTS), inline_part(number))
    assert len(pool.process_ids) == 2


def test_the_share_of_a_killed_worker_is_done_again_by_another(pool_of, tmp_path):
    pool = pool_of(mishap="killed", at="client09", marker=tmp_path / "killed")
    assert_same(pool.train(round_work(), CLIENTS), inline_part())
    assert (tmp_path / "killed").exists()
    assert len(pool.process_ids) == 1


def test_a_worker_that_was_killed_between_rounds_is_replaced(pool_of):
    pool = pool_of()
    pool.train(round_work(), CLIENTS)
    first, second = pool.process_ids
    os.kill(first, signal.SIGKILL)
    assert_same(pool.train(round_work(2), CLIENTS), inline_part(2))  # by the other
    pool.train(round_work(3), CLIENTS)
    assert len(pool.process_ids) == 2
    assert second in pool.process_ids
    assert first not in pool.process_ids


def test_when_every_worker_is_killed_the_error_says_so(pool_of):
    pool = pool_of(mishap="killed", at="client09")
    with pytest.raises(FedvoiceError, match="all of them ended") as failed:
        pool.train(round_work(), CLIENTS)
    assert failed.value.code is ErrorCode.CLIENT_LOST
    assert pool.process_ids == []


@pytest.mark.parametrize(
    ("mishap", "code"),
    [("unreadable", ErrorCode.NOT_FOUND), ("error", ErrorCode.BAD_MANIFEST)],
)
def test_what_a_worker_cannot_do_is_told_as_it_would_be_here(pool_of, mishap, code):
    pool = pool_of(mishap=mishap, at="client03")
    with pytest.raises(FedvoiceError) as failed:
        pool.train(round_work(), CLIENTS)
    assert failed.value.code is code
    assert pool.process_ids == []  # none goes on with a round that has failed


def test_updates_spooled_by_workers_are_read_by_a_cohort_rule(pool_of, tmp_path):
    work = replace(round_work(), links=(LinkConfig(name="median"),))
    deltas = []
    for place, train in (("here", None), ("there", pool_of(2).train)):
        spool = tmp_path / place
        spool.mkdir()
        own = replace(work, spool=spool)
        part = train(own, CLIENTS) if train else inline_part(work=own)
        assert part.total.count == 0  # nothing is folded
        updates = spooled_updates(own, part.reports)
        assert len(updates) == len(CLIENTS)
        deltas.append(own.chain.combine(updates, work.weights.size).tobytes())
    assert deltas[0] == deltas[1]

"""Rounds in one process keep the server's laws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedvoice.algorithm.cohort import draw_cohort
from fedvoice.model_export.torch_engine import TorchEngine
from fedvoice.protocol.engine import Example, make_batch
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import SpecAugment, TrainingPlan
from fedvoice.protocol.scoring import ErrorCounts
from fedvoice.server.config import ServerConfig
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.cohort import RoundWork, UpdateLimits, train_cohort
from fedvoice.simulation.fast.trainer import FastTrainer
from fedvoice.simulation.federation import Federation, FederationState
from fedvoice.simulation.workers.pool import InlinePool, merge_parts, split_cohort
from tests.laboratory.tiny import (
    Clients,
    collate,
    make_clients,
    make_examples,
    some_weights,
    tiny_task,
)

TASK = tiny_task()
MANIFEST = TASK.manifest
INITIAL = some_weights(MANIFEST, seed=1)
PLAN = TrainingPlan(batch_size=2, client_rate=0.1, clip_norm=0.0, seed=4)
LIMITS = UpdateLimits(
    grid_bits=32, max_update_abs=16.0, max_update_norm=0.0, max_client_examples=65536
)


def federation(
    clients: Mapping[str, ClientData], plan: TrainingPlan = PLAN, together: int = 8, **server: Any
) -> Federation:
    """Server SGD at rate 1 without momentum: the weights move by the mean delta."""
    settings: dict[str, Any] = {"rounds": 4, "cohort_size": len(clients)}
    settings["optimizer"] = {"name": "sgd", "rate": 1.0, "momentum": 0.0}
    config = ServerConfig(insecure=True, **{**settings, **server})
    population = Clients(clients)
    pool = InlinePool(FastTrainer(MANIFEST, together), population)
    return Federation(
        "tiny",
        MANIFEST,
        population.client_ids,
        plan,
        config,
        pool,
        lambda _: NO_ERRORS,
        population.size,
    )


NO_ERRORS = {"wer": ErrorCounts(1, 4)}


def run(job: Federation, weights: FlatVector = INITIAL) -> FederationState:
    state = job.start(weights)
    for _ in range(job.config.rounds):
        state = job.step(state)
    return state


def gradient(example: Example) -> FlatVector:
    """At the initial weights, by the reference engine."""
    bucket = MANIFEST.buckets[-1]
    batch = make_batch([example], bucket, MANIFEST, weight=1.0)
    return TorchEngine(MANIFEST).step(bucket, INITIAL, batch)[1].copy()


def poisoned(client: ClientData) -> ClientData:
    return replace(client, features=np.full_like(client.features, np.nan))


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_law_1_how_a_cohort_is_dealt_to_workers_changes_no_bit(workers: int) -> None:
    clients = Clients(make_clients([4, 1, 6, 3, 2, 5, 2]))
    work = RoundWork(1, PLAN, INITIAL, LIMITS)
    whole = train_cohort(FastTrainer(MANIFEST, 1), clients, work, clients.client_ids)
    parts = [
        train_cohort(FastTrainer(MANIFEST, 1), clients, work, own)
        for own in split_cohort(clients.client_ids, workers)
    ]
    merged = merge_parts(parts[::-1], clients.client_ids)
    assert merged.total.mean().tobytes() == whole.total.mean().tobytes()
    assert [report.client_id for report in merged.reports] == list(clients.client_ids)
    assert [r.statistics.examples for r in merged.reports] == [4, 1, 6, 3, 2, 5, 2]


def test_clients_that_train_together_come_to_the_same_model_within_rounding() -> None:
    clients = make_clients([4, 1, 6, 3, 2, 5, 2, 7, 1, 2])
    alone, together = (run(federation(clients, together=n)).weights for n in (1, 8))
    moved = np.linalg.norm(alone - INITIAL)
    assert np.linalg.norm(together - alone) < 1e-5 * moved


def test_law_2_the_mean_is_over_accepted_clients_weighted_by_their_examples() -> None:
    """Clients of 1 and 3 examples, one batch each; a third is refused and has no weight."""
    clients = make_clients([1, 3, 9])
    clients["c"] = poisoned(clients["c"])
    plan = PLAN.model_copy(update={"batch_size": 0})
    state = federation(clients, plan).step(federation(clients, plan).start(INITIAL))
    a, b = (np.mean([gradient(e) for e in clients[name]], axis=0) for name in "ab")
    wanted = -0.1 * (1 * a + 3 * b) / 4
    np.testing.assert_allclose(state.weights - INITIAL, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("plan", "examples"),
    [({"data_limit": 1, "batch_size": 1}, 1), ({"data_limit": 0, "batch_size": 0}, 3)],
    ids=["L=1, b=1", "L=inf, b=inf"],
)
def test_law_6_one_step_a_client_is_fedsgd(plan: dict[str, int], examples: int) -> None:
    """w - rate * the gradient of the mean loss over all examples of the round."""
    clients = make_clients([3, 3, 3])
    if examples == 1:  # which example is drawn does not matter
        clients = {name: collate([data[0]] * 3) for name, data in clients.items()}
    job = federation(clients, PLAN.model_copy(update=plan))
    state = job.step(job.start(INITIAL))
    pooled = [data[i] for data in clients.values() for i in range(examples)]
    wanted = -0.1 * np.mean([gradient(example) for example in pooled], axis=0)
    np.testing.assert_allclose(state.weights - INITIAL, wanted, rtol=1e-4, atol=1e-6)
    assert state.rows[0].steps == 3


def test_law_7_the_papers_formula_gives_what_was_counted_on_full_batches() -> None:
    """Clients of 2, 4 and 6 examples in batches of 2, two epochs: 12 steps a round."""
    short = (9, 12)
    clients = {
        name: collate(make_examples(count, seed=count, frames=short))
        for name, count in {"a": 2, "b": 4, "c": 6}.items()
    }
    state = run(federation(clients, PLAN.model_copy(update={"local_epochs": 2}), alpha=0.5))
    weights_bytes = MANIFEST.parameters.weights_bytes
    first, last = state.rows[0], state.rows[-1]
    assert first.steps == 12
    assert first.bytes_down == first.bytes_up == 3 * weights_bytes
    # Weights alone: a task that was not exported has no arena, and this plan no optimiser state.
    assert first.memory_bytes == weights_bytes
    assert last.cfmq_communication_bytes == 4 * 6 * weights_bytes
    assert last.cfmq_compute_bytes == 4 * 12 * weights_bytes
    assert state.cost.total_bytes == (4 * 6 + 0.5 * 4 * 12) * weights_bytes
    assert last.analytic_cfmq_bytes == pytest.approx(state.cost.total_bytes)


def test_law_7_partial_batches_cost_more_than_the_formula_says() -> None:
    state = run(federation(make_clients([3, 1, 5])))
    assert state.rows[-1].analytic_cfmq_bytes < state.cost.total_bytes


@pytest.mark.parametrize("encoding", ["float16", "int8"])
def test_compressed_downloads_are_booked_at_the_size_they_have(encoding: str) -> None:
    clients = make_clients([3, 3])
    plain, small = (
        run(federation(clients, download_encoding=each)).rows[-1] for each in ("float32", encoding)
    )
    assert small.bytes_up == plain.bytes_up
    part = {"float16": 0.5, "int8": 0.25}[encoding]
    assert part <= small.bytes_down / plain.bytes_down < part * 1.2  # scales of int8 are extra
    saved = 4 * (plain.bytes_down - small.bytes_down)
    assert plain.cfmq_communication_bytes - small.cfmq_communication_bytes == saved


def test_compressed_updates_are_booked_at_the_size_they_have() -> None:
    plan = PLAN.model_copy(update={"update_encoding": "int8"})
    clients = make_clients([3, 3])
    rows = {p.update_encoding: run(federation(clients, p)).rows[0] for p in (PLAN, plan)}
    assert rows["int8"].bytes_down == rows["float32"].bytes_down
    assert 0.25 <= rows["int8"].bytes_up / rows["float32"].bytes_up < 0.3


def test_a_refused_clients_place_goes_to_another() -> None:
    clients = make_clients([3] * 6)
    settings = {"cohort_size": 3, "rounds": 1}
    undisturbed = run(federation(clients, **settings)).rows[0]
    first = draw_cohort(0, 1, list(clients))[0]
    clients[first] = poisoned(clients[first])
    row = run(federation(clients, **settings)).rows[0]
    assert (row.clients, row.examples, row.end) == (3, 9, "committed, goal")
    # Four clients fetched the weights, three sent an update.
    weights_bytes = MANIFEST.parameters.weights_bytes
    assert (row.bytes_down, row.bytes_up) == (4 * weights_bytes, 3 * weights_bytes)
    assert undisturbed.bytes_down == 3 * weights_bytes


def test_law_5_a_round_is_closed_with_those_that_are_enough_and_abandoned_with_fewer() -> None:
    clients = make_clients([3] * 4)
    for name in "ab":
        clients[name] = poisoned(clients[name])
    half = run(federation(clients, min_fraction=0.5, rounds=1))
    assert (half.rows[0].end, half.rows[0].clients) == ("committed, timeout", 2)
    most = run(federation(clients, min_fraction=0.75, rounds=2))
    assert [row.end for row in most.rows] == ["abandoned, too-few"] * 2
    assert most.weights.tobytes() == INITIAL.tobytes()
    assert most.cost.communication_bytes > 0  # what was moved was moved


def test_an_update_beyond_the_servers_bounds_is_refused() -> None:
    clients = make_clients([3, 3])
    fine = run(federation(clients, rounds=1))
    norm = float(np.linalg.norm(fine.weights - INITIAL))
    refused = run(federation(clients, rounds=1, max_update_norm=norm / 10))
    assert refused.rows[0].end == "abandoned, too-few"
    assert refused.rows[0].clients == 0


def test_a_client_with_more_examples_than_the_server_lets_count_is_refused() -> None:
    """Their number is a weight of the sum, which is exact as long as the weights are bounded."""
    (row,) = run(federation(make_clients([3, 5]), rounds=1, max_client_examples=4)).rows
    assert (row.clients, row.examples) == (1, 3)


def test_the_plan_of_each_round_is_the_schedules() -> None:
    """Four local epochs, halved every round: 8, 4, 2, 2 steps of two clients."""
    clients = {name: collate(make_examples(2, 3, frames=(9, 9))) for name in "ab"}
    plan = PLAN.model_copy(update={"local_epochs": 4})
    job = federation(clients, plan, plan_schedule={"local_epochs_halve_every": 1})
    assert [row.steps for row in run(job).rows] == [8, 4, 2, 2]


@pytest.mark.parametrize(
    ("settings", "rounds"),
    [
        ({"evaluate_every": 3, "rounds": 4}, [3, 4]),
        ({"evaluate_every": 2, "rounds": 4, "evaluate_first": True}, [0, 2, 4]),
        ({"evaluate_every": 0, "rounds": 2}, []),
    ],
)
def test_evaluations_come_when_the_settings_say(
    settings: dict[str, Any], rounds: list[int]
) -> None:
    state = run(federation(make_clients([1, 1]), **settings))
    assert sorted(state.evaluations) == rounds
    evaluated = [row.round for row in state.rows if row.wer is not None]
    assert evaluated == [number for number in rounds if number]
    assert {row.wer for row in state.rows} <= {None, 25.0}


def test_the_same_settings_give_the_same_bits_and_another_seed_others() -> None:
    clients = make_clients([3] * 6)
    plan = PLAN.model_copy(update={"spec_augment": SpecAugment(time_masks=1, time_mask_frames=3)})
    one, two, other = (
        run(federation(clients, plan, cohort_size=2, seed=seed)).weights.tobytes()
        for seed in (0, 0, 1)
    )
    assert one == two != other


def test_a_plan_for_another_model_is_refused_by_name() -> None:
    plan = PLAN.model_copy(update={"trainable": ("tail.",)})
    with pytest.raises(FedvoiceError, match=r"bad-config") as caught:
        run(federation(make_clients([2]), plan))
    assert "'tail.'" in caught.value.got

"""One cell in this process: it goes on where it was stopped, to the bit, and is run once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedvoice.laboratory.experiment.budget import within_budget
from fedvoice.laboratory.experiment.cells import Cell
from fedvoice.laboratory.experiment.config import load_experiment
from fedvoice.laboratory.experiment.kept import read_outcome
from fedvoice.laboratory.experiment.progress import Progress
from fedvoice.laboratory.experiment.run import cell_task
from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
)
from fedvoice.protocol.task import WEIGHTS_FILE
from fedvoice.reporting.results import (
    Results,
    read_results,
)
from fedvoice.simulation.abandoned import STUCK_ROUNDS
from fedvoice.simulation.checkpoint import (
    STATE_FILE,
    load_state,
    save_state,
)
from fedvoice.simulation.fleet.prepare import Prepared
from fedvoice.simulation.populations import build_population
from fedvoice.simulation.training import Interrupted
from fedvoice.simulation.workers.spread import Spread
from tests.laboratory.running import run_cell


def the_cell(experiment: Path, **overrides: Any) -> Cell:
    return load_experiment(experiment, overrides).cells(str(experiment))[0]


def run(cell: Cell, folder: Path, stop_at: int | None = None) -> list[int]:
    """Run a cell and stop it before the round after `stop_at`; the rounds that it reported."""
    seen: list[int] = []

    def report(progress: Progress) -> None:
        if progress.done:
            seen.append(progress.done)

    def should_stop() -> bool:
        return stop_at is not None and bool(seen) and seen[-1] >= stop_at

    run_cell(cell, folder, folder.parent / "tasks", report, should_stop)
    return seen


# Whatever has a state between rounds: momentum and second moments, noise, masks, drawn examples.
STATEFUL = {
    "plan.fvn_std": 0.05,
    "plan.data_limit": 4,
    "plan.spec_augment": {"time_masks": 1, "time_mask_frames": 8},
    "plan.update_encoding": "int8",
    "server.optimizer": {"name": "yogi", "rate": 0.05, "schedule": "cosine"},
    "server.evaluate_first": True,
}


def test_a_cell_that_was_stopped_goes_on_to_the_same_bits(experiment: Path, tmp_path: Path) -> None:
    cell = the_cell(experiment, **STATEFUL)
    assert run(cell, tmp_path / "whole") == [1, 2, 3, 4]
    for stop_at in (1, 3):
        with pytest.raises(Interrupted):
            run(cell, tmp_path / "parts", stop_at)
        state = load_state(tmp_path / "parts")
        assert state is not None
        assert state.number == stop_at
        assert read_outcome(cell, tmp_path / "parts") is None
    assert run(cell, tmp_path / "parts") == [4]
    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    assert (whole / WEIGHTS_FILE).read_bytes() == (parts / WEIGHTS_FILE).read_bytes()
    rows = [
        [(r.loss, r.wer, r.heldout_wer, r.cfmq_compute_bytes) for r in read_results(folder).rounds]
        for folder in (whole, parts)
    ]
    assert rows[0] == rows[1]
    first, second = (read_outcome(cell, folder) for folder in (whole, parts))
    assert first is not None
    assert second is not None
    assert [p.rates for p in first.points] == [p.rates for p in second.points]
    assert [p.round for p in first.points] == [0, 2, 4]
    assert not (parts / STATE_FILE).exists()


def test_central_training_goes_on_to_the_same_bits(experiment: Path, tmp_path: Path) -> None:
    """Adam's vectors and the place on the cosine are part of the state."""
    central = {"epochs": 3, "rate": 0.01, "evaluate_every": 1}
    cell = the_cell(experiment, engine="central", central=central)
    assert run(cell, tmp_path / "whole") == [1, 2, 3]
    with pytest.raises(Interrupted):
        run(cell, tmp_path / "parts", 1)
    assert run(cell, tmp_path / "parts") == [2, 3]
    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    assert (whole / WEIGHTS_FILE).read_bytes() == (parts / WEIGHTS_FILE).read_bytes()


def test_a_state_comes_back_from_disk_as_it_was(experiment: Path, tmp_path: Path) -> None:
    cell = the_cell(experiment, **STATEFUL)
    with pytest.raises(Interrupted):
        run(cell, tmp_path / "cell", 2)
    state = load_state(tmp_path / "cell")
    assert state is not None
    save_state(tmp_path, state)
    again = load_state(tmp_path)
    assert again is not None
    assert again.weights.tobytes() == state.weights.tobytes()
    assert {k: v.tobytes() for k, v in again.optimizer.slots.items()} == {
        k: v.tobytes() for k, v in state.optimizer.slots.items()
    }
    assert state.optimizer.slots  # Yogi has some
    assert (again.rows, again.cost, again.analytic) == (state.rows, state.cost, state.analytic)
    assert again.evaluations == state.evaluations
    assert load_state(tmp_path / "nowhere") is None


def test_a_finished_cell_is_not_run_again(experiment: Path, tmp_path: Path) -> None:
    cell = the_cell(experiment)
    assert run(cell, tmp_path / "cell") == [1, 2, 3, 4]
    assert run(cell, tmp_path / "cell") == []


def test_a_cell_ends_at_its_target_or_its_budget(experiment: Path, tmp_path: Path) -> None:
    at_once = the_cell(experiment, target=100.0, **{"server.evaluate_every": 1})
    assert run(at_once, tmp_path / "target") == [1]
    cell = the_cell(experiment)
    run(cell, tmp_path / "whole")
    first, second, *_ = read_results(tmp_path / "whole").rounds
    spent = [r.cfmq_communication_bytes + r.cfmq_compute_bytes for r in (first, second)]
    budget = the_cell(experiment, cfmq_budget_bytes=sum(spent) / 2)
    assert run(budget, tmp_path / "budget") == [1, 2]


def test_what_a_budget_ends_between_two_evaluations_is_judged_at_its_end(
    experiment: Path, tmp_path: Path
) -> None:
    """Evaluations come every second round here, and the first round costs more than the budget."""
    cell = the_cell(experiment, cfmq_budget_bytes=1.0, **{"server.evaluate_first": True})
    assert run(cell, tmp_path / "one") == [1]
    outcome = read_outcome(cell, tmp_path / "one")
    assert outcome is not None
    assert [point.round for point in outcome.points] == [0, 1]
    assert outcome.results.rounds[0].wer == outcome.points[1].rates["wer"]
    central = the_cell(experiment, engine="central", cfmq_budget_bytes=1.0)
    run(central, tmp_path / "central")
    outcome = read_outcome(central, tmp_path / "central")
    assert outcome is not None
    assert [point.round for point in outcome.points] == [1]
    unjudged = the_cell(experiment, cfmq_budget_bytes=1.0, **{"server.evaluate_every": 0})
    run(unjudged, tmp_path / "unjudged")
    outcome = read_outcome(unjudged, tmp_path / "unjudged")
    assert outcome is not None
    assert outcome.points == ()


def test_central_training_spends_its_budget_at_the_weight_that_alpha_gives_memory(
    experiment: Path, tmp_path: Path
) -> None:
    """A budget of one and a half epochs at alpha = 1 is one of three at a half."""
    settings: dict[str, Any] = {"engine": "central", "central": {"epochs": 5}}
    run(the_cell(experiment, cfmq_budget_bytes=1.0, **settings), tmp_path / "one")
    (epoch,) = read_results(tmp_path / "one").rounds
    budget = 1.5 * epoch.cfmq_compute_bytes
    assert run(the_cell(experiment, cfmq_budget_bytes=budget, **settings), tmp_path / "a") == [1, 2]
    settings["server.alpha"] = 0.5
    half = the_cell(experiment, cfmq_budget_bytes=budget, **settings)
    assert run(half, tmp_path / "half") == [1, 2, 3]
    last = read_results(tmp_path / "half").rounds[-1]
    assert last.cfmq_compute_bytes == 3 * epoch.cfmq_compute_bytes  # not yet multiplied by alpha
    assert last.analytic_cfmq_bytes == 1.5 * epoch.cfmq_compute_bytes


def test_a_cell_of_which_no_update_counts_is_no_result(experiment: Path, tmp_path: Path) -> None:
    reasons = {
        "diverged": {"plan.client_rate": 1e30, "plan.clip_norm": 0.0},
        "norm too large": {"server.max_update_abs": 1e-9},
    }
    for reason, settings in reasons.items():
        cell, folder = the_cell(experiment, **settings), tmp_path / reason
        for _ in range(2):  # after all rounds; and at once
            with pytest.raises(FedvoiceError, match=f"cell all seed 0.*: {reason}") as caught:
                run(cell, folder)
            assert caught.value.code is ErrorCode.NO_UPDATES
            assert caught.value.got.startswith("4 rounds, 0 updates that counted; 24 were refused")
            assert "client_rate" in caught.value.next_step
            state = load_state(folder)
            assert state is not None
            assert state.number == 4
        assert read_outcome(cell, folder) is None


def test_a_cell_of_which_no_update_counts_any_more_ends(experiment: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"server.max_update_abs": 1e-9, "server.rounds": 50}
    with pytest.raises(FedvoiceError, match=f"got {STUCK_ROUNDS} rounds, 0 updates that counted"):
        run(the_cell(experiment, **settings), tmp_path / "ends")
    settings["server.plan_schedule"] = {"local_epochs_halve_every": 20}
    with pytest.raises(FedvoiceError, match="got 50 rounds, 0 updates that counted"):
        run(the_cell(experiment, **settings), tmp_path / "goes on")


def test_a_cell_that_moved_before_no_update_counted_any_more_is_a_result(
    experiment: Path, tmp_path: Path
) -> None:
    folder, rounds = tmp_path / "moved", {"server.rounds": 50}
    with pytest.raises(Interrupted):
        run(the_cell(experiment, **rounds), folder, stop_at=2)
    cell = the_cell(experiment, **rounds, **{"server.max_update_abs": 1e-9})
    assert run(cell, folder)[-1] == 2 + STUCK_ROUNDS
    outcome = read_outcome(cell, folder)
    assert outcome is not None
    assert [row.clients > 0 for row in outcome.results.rounds][-12:] == [True] * 2 + [False] * 10
    assert outcome.points[-1].round == 2 + STUCK_ROUNDS


def rounds_paid(experiment: Path, **server: Any) -> int:
    """As many as 100 MB pay for."""
    settings = {f"server.{name}": value for name, value in server.items()}
    cell = the_cell(experiment, cfmq_budget_bytes=1e8, **settings)
    fields = {k: v for k, v in cell.settings.server.items() if k != "rounds"}
    cell = replace(cell, settings=cell.settings.model_copy(update={"server": fields}))
    manifest = cell_task(cell, Path(), lambda progress: None).manifest
    population = build_population(cell.settings.data, manifest, cell.seed)
    return within_budget(cell, manifest, population).rounds


def test_a_budget_pays_for_the_clients_there_are_at_the_weight_that_alpha_gives_memory(
    experiment: Path,
) -> None:
    assert rounds_paid(experiment, cohort_size=100) == rounds_paid(experiment, cohort_size=6)
    # Two steps a client, each of mu = weights (there is no arena here); and weights down and up.
    whole, bytes_alone = (rounds_paid(experiment, alpha=alpha) for alpha in (1.0, 0.0))
    assert bytes_alone == pytest.approx(2 * whole, abs=1)  # whole rounds


def test_a_different_seed_is_a_different_run(experiment: Path, tmp_path: Path) -> None:
    zero, one = load_experiment(experiment).cells("f")[:2]
    assert (zero.seed, one.seed) == (0, 1)
    weights = []
    for cell in (zero, one):
        run(cell, tmp_path / str(cell.seed))
        weights.append((tmp_path / str(cell.seed) / WEIGHTS_FILE).read_bytes())
    assert weights[0] != weights[1]


def test_phones_cannot_do_everything(experiment: Path, tmp_path: Path) -> None:
    cell = the_cell(experiment, engine="phones", target=10.0)
    from fedvoice.laboratory.experiment.phones import simulate_cell
    from tests.laboratory.tiny import tiny_task

    with pytest.raises(FedvoiceError) as caught:
        simulate_cell(cell, tiny_task(), tmp_path, lambda books: None, 1)
    assert caught.value.code is ErrorCode.BAD_CONFIG
    assert "engine phones" in caught.value.where


def test_phones_that_are_never_judged_have_results_all_the_same(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedvoice.laboratory.experiment import phones
    from tests.laboratory.tiny import tiny_task

    (tmp_path / phones.TASK_DIR).mkdir()
    monkeypatch.setattr(phones, "load_package", lambda directory: None)
    monkeypatch.setattr(phones, "simulate", lambda prepared, observe: Results([], {"wer": None}))
    monkeypatch.setattr(phones, "read_evaluations", lambda store, held_out: {})
    cell = the_cell(experiment, engine="phones", **{"server.evaluate_every": 0})
    results, evaluations = phones.simulate_cell(cell, tiny_task(), tmp_path, lambda books: None, 1)
    assert (results.final, evaluations) == ({"wer": None, "pooled": None}, {})


def test_phones_share_as_many_processes_as_workers_are_wanted(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedvoice.laboratory.experiment import (
        phones,
        run,
    )
    from tests.laboratory.tiny import tiny_task

    shared: list[int] = []

    def simulate(prepared: Prepared, observe: object) -> Results:
        shared.append(prepared.config.fleet.processes)
        return Results([], {})

    (tmp_path / phones.TASK_DIR).mkdir()
    monkeypatch.setattr(run, "cell_task", lambda cell, tasks_dir, report: tiny_task())
    monkeypatch.setattr(phones, "load_package", lambda directory: None)
    monkeypatch.setattr(phones, "simulate", simulate)
    monkeypatch.setattr(phones, "read_evaluations", lambda store, held_out: {})
    cell, quiet = the_cell(experiment, engine="phones"), lambda progress: None
    run_cell(cell, tmp_path, tmp_path, quiet, lambda: False, spread=Spread(3))
    assert shared == [3]


def test_central_training_without_an_example_that_fits_says_so(
    experiment: Path, tmp_path: Path
) -> None:
    bucket = {"frames": 2, "labels": 1, "batch": 4}
    cell = the_cell(experiment, engine="central", **{"task.buckets": [bucket]})
    with pytest.raises(FedvoiceError, match="central training") as caught:
        run(cell, tmp_path / "cell")
    assert caught.value.code is ErrorCode.BAD_CONFIG

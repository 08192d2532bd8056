"""One trial in this process: it resumes where it was stopped, to the bit, and is run once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedvoice.laboratory.experiment.budget import within_budget
from fedvoice.laboratory.experiment.config import load_experiment
from fedvoice.laboratory.experiment.kept import read_outcome
from fedvoice.laboratory.experiment.progress import TrialProgress
from fedvoice.laboratory.experiment.run import TrialRun, trial_task
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import WEIGHTS_FILE
from fedvoice.protocol.usage import Usage
from fedvoice.reporting.callbacks import Callback, RoundEnd
from fedvoice.reporting.results import Books, Results, read_results
from fedvoice.simulation.abandoned import STUCK_ROUNDS
from fedvoice.simulation.checkpoint import STATE_FILE, load_state, save_state
from fedvoice.simulation.fleet.prepare import Prepared
from fedvoice.simulation.populations import build_population
from fedvoice.simulation.training import Interrupted
from fedvoice.simulation.usage import CorpusUsage
from fedvoice.simulation.workers.spread import Spread
from tests.laboratory.running import run_trial

UNSEEN = CorpusUsage(Usage())
"""For tests that replace what would look at the corpus."""


def the_trial(experiment: Path, **overrides: Any) -> Trial:
    return load_experiment(experiment, overrides).trials(str(experiment))[0]


def run(trial: Trial, folder: Path, stop_at: int | None = None) -> list[int]:
    """Run a trial and stop it before the round after `stop_at`; the rounds that it reported."""
    seen: list[int] = []

    def report(progress: TrialProgress) -> None:
        if progress.done:
            seen.append(progress.done)

    def should_stop() -> bool:
        return stop_at is not None and bool(seen) and seen[-1] >= stop_at

    run_trial(trial, folder, folder.parent / "tasks", report, should_stop)
    return seen


# Whatever has a state between rounds: momentum and second moments, noise, masks, drawn examples.
STATEFUL = {
    "plan.fvn_std": 0.05,
    "plan.data_limit": 4,
    "plan.spec_augment": {"time_masks": 1, "time_mask_frames": 8},
    "plan.update_encoding": "int8",
    "server.download_encoding": "int8",
    "server.optimizer": {"name": "yogi", "rate": 0.05, "schedule": "cosine"},
    "server.evaluate_first": True,
}


def test_a_trial_that_was_stopped_goes_on_to_the_same_bits(
    experiment: Path, tmp_path: Path
) -> None:
    trial = the_trial(experiment, **STATEFUL)
    assert run(trial, tmp_path / "whole") == [1, 2, 3, 4]
    for stop_at in (1, 3):
        with pytest.raises(Interrupted):
            run(trial, tmp_path / "parts", stop_at)
        state = load_state(tmp_path / "parts")
        assert state is not None
        assert state.number == stop_at
        assert read_outcome(trial, tmp_path / "parts") is None
    assert run(trial, tmp_path / "parts") == [4]
    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    assert (whole / WEIGHTS_FILE).read_bytes() == (parts / WEIGHTS_FILE).read_bytes()
    rows = [
        [(r.loss, r.wer, r.heldout_wer, r.cfmq_compute_bytes) for r in read_results(folder).rounds]
        for folder in (whole, parts)
    ]
    assert rows[0] == rows[1]
    first, second = (read_outcome(trial, folder) for folder in (whole, parts))
    assert first is not None
    assert second is not None
    assert [p.rates for p in first.points] == [p.rates for p in second.points]
    assert [p.round for p in first.points] == [0, 2, 4]
    assert not (parts / STATE_FILE).exists()


def test_central_training_goes_on_to_the_same_bits(experiment: Path, tmp_path: Path) -> None:
    """Adam's vectors and the place on the cosine are part of the state."""
    central = {"epochs": 3, "rate": 0.01, "evaluate_every": 1}
    trial = the_trial(experiment, engine="central", central=central)
    assert run(trial, tmp_path / "whole") == [1, 2, 3]
    with pytest.raises(Interrupted):
        run(trial, tmp_path / "parts", 1)
    assert run(trial, tmp_path / "parts") == [2, 3]
    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    assert (whole / WEIGHTS_FILE).read_bytes() == (parts / WEIGHTS_FILE).read_bytes()


def test_a_state_comes_back_from_disk_as_it_was(experiment: Path, tmp_path: Path) -> None:
    trial = the_trial(experiment, **STATEFUL)
    with pytest.raises(Interrupted):
        run(trial, tmp_path / "trial", 2)
    state = load_state(tmp_path / "trial")
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


def test_a_finished_trial_is_not_run_again(experiment: Path, tmp_path: Path) -> None:
    trial = the_trial(experiment)
    assert run(trial, tmp_path / "trial") == [1, 2, 3, 4]
    assert run(trial, tmp_path / "trial") == []


def test_a_trial_ends_at_its_target_or_its_budget(experiment: Path, tmp_path: Path) -> None:
    at_once = the_trial(experiment, target=100.0, **{"server.evaluate_every": 1})
    assert run(at_once, tmp_path / "target") == [1]
    trial = the_trial(experiment)
    run(trial, tmp_path / "whole")
    first, second, *_ = read_results(tmp_path / "whole").rounds
    spent = [r.cfmq_communication_bytes + r.cfmq_compute_bytes for r in (first, second)]
    budget = the_trial(experiment, cfmq_budget_bytes=sum(spent) / 2)
    assert run(budget, tmp_path / "budget") == [1, 2]


def test_what_a_budget_ends_between_two_evaluations_is_judged_at_its_end(
    experiment: Path, tmp_path: Path
) -> None:
    """Evaluations come every second round here, and the first round costs more than the budget."""
    trial = the_trial(experiment, cfmq_budget_bytes=1.0, **{"server.evaluate_first": True})
    assert run(trial, tmp_path / "one") == [1]
    outcome = read_outcome(trial, tmp_path / "one")
    assert outcome is not None
    assert [point.round for point in outcome.points] == [0, 1]
    assert outcome.results.rounds[0].wer == outcome.points[1].rates["wer"]
    central = the_trial(experiment, engine="central", cfmq_budget_bytes=1.0)
    run(central, tmp_path / "central")
    outcome = read_outcome(central, tmp_path / "central")
    assert outcome is not None
    assert [point.round for point in outcome.points] == [1]
    unjudged = the_trial(experiment, cfmq_budget_bytes=1.0, **{"server.evaluate_every": 0})
    run(unjudged, tmp_path / "unjudged")
    outcome = read_outcome(unjudged, tmp_path / "unjudged")
    assert outcome is not None
    assert outcome.points == ()


def test_central_training_spends_its_budget_at_the_weight_that_alpha_gives_memory(
    experiment: Path, tmp_path: Path
) -> None:
    """A budget of one and a half epochs at alpha = 1 is one of three at a half."""
    settings: dict[str, Any] = {"engine": "central", "central": {"epochs": 5}}
    run(the_trial(experiment, cfmq_budget_bytes=1.0, **settings), tmp_path / "one")
    (epoch,) = read_results(tmp_path / "one").rounds
    budget = 1.5 * epoch.cfmq_compute_bytes
    assert run(the_trial(experiment, cfmq_budget_bytes=budget, **settings), tmp_path / "a") == [
        1,
        2,
    ]
    settings["server.alpha"] = 0.5
    half = the_trial(experiment, cfmq_budget_bytes=budget, **settings)
    assert run(half, tmp_path / "half") == [1, 2, 3]
    last = read_results(tmp_path / "half").rounds[-1]
    assert last.cfmq_compute_bytes == 3 * epoch.cfmq_compute_bytes  # not yet multiplied by alpha
    assert last.analytic_cfmq_bytes == 1.5 * epoch.cfmq_compute_bytes


def test_a_trial_of_which_no_update_counts_is_no_result(experiment: Path, tmp_path: Path) -> None:
    reasons = {
        "diverged": {"plan.client_rate": 1e30, "plan.clip_norm": 0.0},
        "norm too large": {"server.max_update_abs": 1e-9},
    }
    for reason, settings in reasons.items():
        trial, folder = the_trial(experiment, **settings), tmp_path / reason
        for _ in range(2):  # after all rounds; and at once
            with pytest.raises(FedvoiceError, match=f"trial all seed 0.*: {reason}") as caught:
                run(trial, folder)
            assert caught.value.code is ErrorCode.NO_UPDATES
            assert caught.value.got.startswith("4 rounds, 0 updates accepted; 24 were refused")
            assert "client_rate" in caught.value.next_step
            state = load_state(folder)
            assert state is not None
            assert state.number == 4
        assert read_outcome(trial, folder) is None


def test_a_trial_of_which_no_update_counts_any_more_ends(experiment: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"server.max_update_abs": 1e-9, "server.rounds": 50}
    with pytest.raises(FedvoiceError, match=f"got {STUCK_ROUNDS} rounds, 0 updates accepted"):
        run(the_trial(experiment, **settings), tmp_path / "ends")
    settings["server.plan_schedule"] = {"local_epochs_halve_every": 20}
    with pytest.raises(FedvoiceError, match="got 50 rounds, 0 updates accepted"):
        run(the_trial(experiment, **settings), tmp_path / "goes on")


def test_a_trial_that_moved_before_no_update_counted_any_more_is_a_result(
    experiment: Path, tmp_path: Path
) -> None:
    folder, rounds = tmp_path / "moved", {"server.rounds": 50}
    with pytest.raises(Interrupted):
        run(the_trial(experiment, **rounds), folder, stop_at=2)
    trial = the_trial(experiment, **rounds, **{"server.max_update_abs": 1e-9})
    assert run(trial, folder)[-1] == 2 + STUCK_ROUNDS
    outcome = read_outcome(trial, folder)
    assert outcome is not None
    assert [row.clients > 0 for row in outcome.results.rounds][-12:] == [True] * 2 + [False] * 10
    assert outcome.points[-1].round == 2 + STUCK_ROUNDS


def rounds_paid(experiment: Path, **server: Any) -> int:
    """As many as 100 MB pay for."""
    settings = {f"server.{name}": value for name, value in server.items()}
    trial = the_trial(experiment, cfmq_budget_bytes=1e8, **settings)
    fields = {k: v for k, v in trial.settings.server.items() if k != "rounds"}
    trial = replace(trial, settings=trial.settings.model_copy(update={"server": fields}))
    manifest = trial_task(trial, Path(), lambda progress: None).manifest
    population = build_population(trial.settings.data, manifest, trial.seed)
    return within_budget(trial, manifest, population).rounds


def test_a_budget_pays_for_the_clients_there_are_at_the_weight_that_alpha_gives_memory(
    experiment: Path,
) -> None:
    assert rounds_paid(experiment, cohort_size=100) == rounds_paid(experiment, cohort_size=6)
    # Two steps a client, each of mu = weights (there is no arena here); and weights down and up.
    whole, bytes_alone = (rounds_paid(experiment, alpha=alpha) for alpha in (1.0, 0.0))
    assert bytes_alone == pytest.approx(2 * whole, abs=1)  # whole rounds


def test_a_budget_pays_for_more_rounds_of_smaller_downloads(experiment: Path) -> None:
    plain, down = (
        rounds_paid(experiment, alpha=0.0, download_encoding=encoding)
        for encoding in ("float32", "float16")
    )
    assert down == pytest.approx(plain * 4 / 3, abs=1)


def test_a_different_seed_is_a_different_run(experiment: Path, tmp_path: Path) -> None:
    zero, one = load_experiment(experiment).trials("f")[:2]
    assert (zero.seed, one.seed) == (0, 1)
    weights = []
    for trial in (zero, one):
        run(trial, tmp_path / str(trial.seed))
        weights.append((tmp_path / str(trial.seed) / WEIGHTS_FILE).read_bytes())
    assert weights[0] != weights[1]


def test_phones_cannot_do_everything(experiment: Path, tmp_path: Path) -> None:
    trial = the_trial(experiment, engine="phones", target=10.0)
    from fedvoice.laboratory.experiment.phones import simulate_trial
    from tests.laboratory.tiny import tiny_task

    with pytest.raises(FedvoiceError) as caught:
        simulate_trial(trial, tiny_task(), UNSEEN, tmp_path, lambda *_, **__: None, 1)
    assert caught.value.code is ErrorCode.BAD_CONFIG
    assert "engine phones" in caught.value.where


def test_phones_that_are_never_judged_have_results_all_the_same(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedvoice.laboratory.experiment import phones
    from tests.laboratory.tiny import tiny_task

    (tmp_path / phones.TASK_DIR).mkdir()
    monkeypatch.setattr(phones, "load_package", lambda directory: None)
    monkeypatch.setattr(phones, "config_of", lambda prepared: {})
    monkeypatch.setattr(phones, "books_of", lambda prepared: Books([], None, None, 0, 0, 0))
    monkeypatch.setattr(phones, "simulate", lambda prepared, observe: Results([], {"wer": None}))
    monkeypatch.setattr(phones, "read_evaluations", lambda store, held_out: {})
    trial = the_trial(experiment, engine="phones", **{"server.evaluate_every": 0})
    results, evaluations = phones.simulate_trial(
        trial, tiny_task(), UNSEEN, tmp_path, lambda *_, **__: None, 1
    )
    assert (results.final, evaluations) == ({"wer": None, "pooled": None, "pooled_cer": None}, {})


def test_phones_share_as_many_processes_as_workers_are_wanted(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedvoice.laboratory.experiment import phones, run
    from tests.laboratory.tiny import tiny_task

    shared: list[int] = []

    def simulate(prepared: Prepared, observe: object) -> Results:
        shared.append(prepared.config.fleet.processes)
        return Results([], {})

    (tmp_path / phones.TASK_DIR).mkdir()
    monkeypatch.setattr(run, "trial_task", lambda trial, tasks_dir, report: tiny_task())
    monkeypatch.setattr(run, "trial_usage", lambda *_, **__: UNSEEN)
    monkeypatch.setattr(phones, "load_package", lambda directory: None)
    monkeypatch.setattr(phones, "config_of", lambda prepared: {})
    monkeypatch.setattr(phones, "books_of", lambda prepared: Books([], None, None, 0, 0, 0))
    monkeypatch.setattr(phones, "simulate", simulate)
    monkeypatch.setattr(phones, "read_evaluations", lambda store, held_out: {})
    trial, quiet = the_trial(experiment, engine="phones"), lambda progress: None
    run_trial(trial, tmp_path, tmp_path, quiet, lambda: False, spread=Spread(3))
    assert shared == [3]


def test_central_training_without_an_example_that_fits_says_so(
    experiment: Path, tmp_path: Path
) -> None:
    bucket = {"frames": 2, "labels": 1, "batch": 4}
    trial = the_trial(experiment, engine="central", **{"task.buckets": [bucket]})
    with pytest.raises(FedvoiceError, match="36 too-long") as caught:
        run(trial, tmp_path / "trial")
    assert "longer bucket" in caught.value.next_step


def test_a_trial_that_a_callback_ended_is_resumed_by_the_next_command(
    experiment: Path, tmp_path: Path
) -> None:
    class EndAfterTwo(Callback):
        def round_ended(self, end: RoundEnd) -> bool:
            return end.result.round == 2

    trial, folder = the_trial(experiment), tmp_path / "trial"
    ended = TrialRun(trial, folder, tmp_path / "tasks", [EndAfterTwo()]).run()
    assert [row.round for row in ended.results.rounds] == [1, 2]
    assert read_outcome(trial, folder) is None
    assert run(trial, folder) == [3, 4]
    run(trial, tmp_path / "whole")
    whole = (tmp_path / "whole" / WEIGHTS_FILE).read_bytes()
    assert (folder / WEIGHTS_FILE).read_bytes() == whole

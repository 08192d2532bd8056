"""Settings that are tuned for every line of a table, with outcomes made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fedvoice.laboratory.experiment.best import best_lines
from fedvoice.laboratory.experiment.config import ExperimentConfig, load_experiment
from fedvoice.laboratory.experiment.outcome import Outcome, Point
from fedvoice.laboratory.experiment.report import write_experiment
from fedvoice.laboratory.experiment.runner import Gathered
from fedvoice.laboratory.experiment.summary import Line, summarise, summary_csv, summary_markdown
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.reporting.results import Results

RATE = "plan.client_rate"
EXPERIMENT: dict[str, Any] = {
    "name": "rounds",
    "seeds": [0, 1],
    "tuned": [RATE],
    "base": {
        "target": 10.0,
        "data": {"corpus": "mnist", "folder": "nowhere"},
        "task": {"model": {"kind": "2nn"}},
    },
    "arms": [{"name": "iid", "reference": 87}, {"name": "shards", "label": "non-IID"}],
    "grid": {RATE: [0.1, 0.5]},
}


def experiment(**changes: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate({**EXPERIMENT, **changes})


def outcome(trial: Trial, errors: Sequence[float]) -> Outcome:
    """Error rates at rounds 10, 20, 30, ..."""
    rates = enumerate(errors, start=1)
    points = [Point(10 * n, {"pooled": rate, "wer": rate}, 0.0, 0.0, 0.0) for n, rate in rates]
    return Outcome(trial, Results(rounds=[], final={}), tuple(points))


def lines(config: ExperimentConfig, curves: Sequence[Sequence[float]]) -> list[Line]:
    """The experiment's tuned lines, `curves` those of its trials in order."""
    trials = config.trials("here")
    outcomes = [outcome(trial, curve) for trial, curve in zip(trials, curves, strict=True)]
    return best_lines(summarise(outcomes, config.references), config.tuned, config.metric)


REACHED_AT_20, REACHED_AT_30, NEVER, NEVER_BUT_NEAR = [40, 10], [40, 20, 10], [40, 30], [40, 11]


def test_every_line_has_the_rate_that_reaches_the_target_in_fewest_rounds() -> None:
    found = lines(
        experiment(),
        [
            *(REACHED_AT_30, REACHED_AT_30, REACHED_AT_20, REACHED_AT_30),  # iid: 30 v 25
            *(REACHED_AT_20, REACHED_AT_20, REACHED_AT_30, REACHED_AT_20),  # shards: 20 v 25
        ],
    )
    assert [(line.arm, line.point[RATE], line.rounds_to_target) for line in found] == [
        ("iid", 0.5, (25.0, 2)),
        ("shards", 0.1, (20.0, 2)),
    ]


def test_a_rate_with_which_more_seeds_get_there_is_better_than_a_lucky_one() -> None:
    found = lines(
        experiment(arms=[{"name": "iid"}]),
        [REACHED_AT_20, NEVER, REACHED_AT_30, REACHED_AT_30],
    )
    assert [(line.point[RATE], line.rounds_to_target) for line in found] == [(0.5, (30.0, 2))]


def test_where_nothing_gets_there_the_lowest_error_wins() -> None:
    found = lines(
        experiment(arms=[{"name": "iid"}]), [NEVER, NEVER, NEVER_BUT_NEAR, NEVER_BUT_NEAR]
    )
    assert [(line.point[RATE], line.rates["pooled"][0]) for line in found] == [(0.5, 11.0)]


def test_the_rest_of_the_grid_keeps_its_lines() -> None:
    config = experiment(
        seeds=[0],
        arms=[{"name": "iid"}],
        grid={RATE: [0.1, 0.5], "plan.local_epochs": [1, 5]},
    )
    found = lines(config, [REACHED_AT_30, NEVER, REACHED_AT_20, REACHED_AT_30])
    assert [line.point for line in found] == [
        {RATE: 0.5, "plan.local_epochs": 1},
        {RATE: 0.5, "plan.local_epochs": 5},
    ]
    untuned = config.model_copy(update={"tuned": ()})
    assert len(lines(untuned, [NEVER] * 4)) == 4


def test_the_papers_rounds_stand_beside_ours_and_only_where_there_are_some() -> None:
    curves = [REACHED_AT_20] * 4 + [NEVER] * 4
    head, _, iid, shards = summary_markdown(lines(experiment(), curves)).splitlines()
    place = head.split("|").index(" paper ")
    assert head.split("|")[place - 1] == " rounds "
    assert iid.split("|")[place - 1].endswith("(target at 20, 2 of 2) ")
    assert [row.split("|")[place].strip() for row in (iid, shards)] == ["87", ""]
    assert len(head.split("|")) == len(iid.split("|")) == len(shards.split("|"))
    without = experiment(arms=[{"name": "iid"}])
    assert "paper" not in summary_markdown(lines(without, curves[:4]))


def test_the_tables_show_the_best_and_trials_csv_all_that_was_tried(tmp_path: Path) -> None:
    config = experiment(seeds=[0], arms=[{"name": "iid", "reference": 87}])
    trials = config.trials("here")
    outcomes = [outcome(trials[0], NEVER), outcome(trials[1], REACHED_AT_20)]
    write_experiment(tmp_path, config, tmp_path, Gathered(outcomes, []))
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 1 + 2
    assert (tmp_path / "summary.csv").read_text() == summary_csv(
        lines(config, [[40, 30], [40, 10]])
    )
    assert len((tmp_path / "summary.csv").read_text().splitlines()) == 1 + 1
    assert f"best value of {RATE}" in (tmp_path / "report.html").read_text()


def test_an_arm_may_have_values_of_its_own() -> None:
    own = {"name": "fedsgd", "grid": {RATE: [0.4]}}
    config = experiment(seeds=[0], arms=[{"name": "fedavg"}, own])
    tried = [(trial.arm, trial.settings.plan.client_rate) for trial in config.trials("here")]
    assert tried == [("fedavg", 0.1), ("fedavg", 0.5), ("fedsgd", 0.4)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('tuned = ["plan.batch_size"]', "arm all: tuned without a grid: plan.batch_size"),
        ('arms = [{ name = "one", grid = { "plan.batch_size" = [] } }]', "no values to try"),
    ],
)
def test_what_cannot_be_tuned_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(f'name = "wrong"\n{line}\n[base]\n')
    with pytest.raises(FedvoiceError, match=said) as caught:
        load_experiment(path)
    assert caught.value.code is ErrorCode.BAD_CONFIG

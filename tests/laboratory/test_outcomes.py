"""From evaluations to figures of a table, by hand."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvoice.laboratory.experiment.forecast import Standing, expected_secs, remaining_secs
from fedvoice.laboratory.experiment.kept import read_outcome, write_outcome
from fedvoice.laboratory.experiment.outcome import (
    Outcome,
    crossing,
    curve_points,
    mean_and_spread,
    rates_of,
)
from fedvoice.laboratory.experiment.plots import figures, pareto_front
from fedvoice.laboratory.experiment.summary import (
    summarise,
    summary_csv,
    summary_markdown,
    table_heads,
    table_rows,
    trials_csv,
)
from fedvoice.laboratory.experiment.trials import Trial, TrialSettings
from fedvoice.protocol.scoring import ErrorCounts
from fedvoice.reporting.results import Results, RoundResult
from fedvoice.simulation.quality import count_label_errors


def an_outcome(
    *errors: int, arm: str = "a", seed: int = 0, point: dict[str, Any] | None = None, **more: Any
) -> Outcome:
    """Evaluations of 100 words after rounds 2, 4, ...; a round costs 1 GB and 3 GB and 5 s."""
    settings = TrialSettings.model_validate(
        {"data": {"corpus": "mnist", "folder": "."}, "task": {}, **more}
    )
    rows = [
        RoundResult(
            round=number,
            loss=None,
            wer=None,
            heldout_wer=None,
            clients=2,
            examples=10,
            steps=4,
            bytes_down=1,
            bytes_up=1,
            cfmq_communication_bytes=1e9 * number,
            cfmq_compute_bytes=3e9 * number,
            wall_secs=5.0,
        )
        for number in range(1, 2 * len(errors) + 1)
    ]
    evaluations = {2 * i + 2: {"wer": ErrorCounts(e, 100)} for i, e in enumerate(errors)}
    trial = Trial(arm, f"arm {arm}", point or {}, seed, settings)
    return Outcome(trial, Results(rows, {}), curve_points(rows, evaluations))


def test_a_curve_crosses_between_the_evaluations_around_the_target() -> None:
    """McMahan et al. 2016, section 3: from 40 at round 10 to 20 at round 20, 25 is at 17.5."""
    assert crossing([(10, 40.0), (20, 20.0)], 25.0) == 17.5
    assert crossing([(10, 40.0), (20, 20.0)], 20.0) == 20.0


def test_a_crossing_is_that_of_the_best_value_so_far() -> None:
    # Made monotone: 40, 40, 20. The line to 20 starts at 40 in round 20.
    assert crossing([(10, 40.0), (20, 60.0), (30, 20.0)], 30.0) == 25.0
    # Crossed once, it stays crossed.
    assert crossing([(10, 40.0), (20, 20.0), (30, 90.0)], 30.0) == 15.0


def test_a_curve_that_starts_below_the_target_or_never_gets_there() -> None:
    assert crossing([(10, 40.0), (20, 30.0)], 50.0) == 10.0
    assert crossing([(10, 40.0), (20, 30.0)], 29.0) is None
    assert crossing([], 10.0) is None


def test_mean_and_sample_deviation() -> None:
    assert mean_and_spread([2.0, 4.0, 9.0]) == (5.0, math.sqrt(26 / 2))
    assert mean_and_spread([3.0]) == (3.0, 0.0)


def test_pooled_rates_count_the_words_of_all_test_sets() -> None:
    rates = rates_of({"wer": ErrorCounts(10, 100), "heldout_wer": ErrorCounts(20, 50)})
    assert rates == {"wer": 10.0, "heldout_wer": 40.0, "pooled": 20.0}
    assert rates_of({}) == {}


def test_characters_have_rates_beside_those_of_words() -> None:
    own, held_out = ErrorCounts(10, 100, 12, 400), ErrorCounts(20, 50, 20, 100)
    rates = rates_of({"wer": own, "heldout_wer": held_out})
    assert rates == {
        "wer": 10.0,
        "heldout_wer": 40.0,
        "pooled": 20.0,
        "cer": 3.0,
        "heldout_cer": 20.0,
        "pooled_cer": 6.4,
    }
    # Phones of 0.1.0 among them count words alone: the characters are those of the others.
    assert rates_of({"wer": own + ErrorCounts(90, 100)}) == {
        "wer": 50.0,
        "pooled": 50.0,
        "cer": 3.0,
        "pooled_cer": 3.0,
    }


def test_a_trial_is_kept_with_its_characters_and_an_older_one_has_none(tmp_path: Path) -> None:
    plain = an_outcome(50, 20)
    evaluations = {4: {"wer": ErrorCounts(20, 100, 30, 500)}}
    kept = write_outcome(plain.trial, tmp_path, plain.results, evaluations)
    assert (kept.figure("cer"), kept.figure("wer")) == (6.0, 20.0)
    read = read_outcome(plain.trial, tmp_path)
    assert read is not None
    assert read.points == kept.points
    fields = json.loads((tmp_path / "trial.json").read_text())
    assert fields["evaluations"] == {"4": {"wer": [20, 100, 30, 500]}}
    fields["evaluations"] = {"4": {"wer": [20, 100]}}
    (tmp_path / "trial.json").write_text(json.dumps(fields))
    older = read_outcome(plain.trial, tmp_path)
    assert older is not None
    assert (older.figure("cer"), older.figure("wer")) == (None, 20.0)


def test_tables_have_a_column_of_characters_where_any_were_counted(tmp_path: Path) -> None:
    plain = an_outcome(50, 20)
    counted = {n: {"wer": ErrorCounts(20, 100, n, 100)} for n in (2, 4)}
    spelt = write_outcome(plain.trial, tmp_path, plain.results, counted)
    for outcome, wanted in ((spelt, "4.0 ± 0.0"), (plain, None)):
        lines = summarise([outcome])
        row = dict(zip(table_heads(lines), table_rows(lines)[0], strict=True))
        assert row.get("CER %") == wanted
        (line,) = csv.DictReader(io.StringIO(summary_csv(lines)))
        (trial,) = csv.DictReader(io.StringIO(trials_csv([outcome])))
        assert line["pooled_cer_mean"] == ("4.0" if wanted else "")
        assert trial["cer"] == ("4.0" if wanted else "")


def test_labels_are_compared_place_by_place() -> None:
    # Alignment would forgive the shifted one two of its three errors.
    assert count_label_errors([[1, 2, 3], [4]], [[2, 3, 3], []]) == ErrorCounts(3, 4)


def test_a_trials_figure_is_the_mean_of_its_last_evaluations() -> None:
    assert an_outcome(90, 50, 30, 20, average_last=2).figure("wer") == 25.0
    assert an_outcome(90, 20).figure("wer") == 20.0
    assert an_outcome(90).figure("heldout_wer") is None


points = st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), min_size=1, max_size=12)


@given(points)
def test_no_point_of_the_front_is_beaten_and_every_other_point_is(
    found: list[tuple[float, float]],
) -> None:
    front = pareto_front(found)

    def beaten(place: int) -> bool:
        cost, error = found[place]
        return any(c <= cost and e <= error and (c, e) != (cost, error) for c, e in found)

    assert front
    assert not any(beaten(place) for place in front)
    kept = {found[place] for place in front}
    assert all(beaten(place) or found[place] in kept for place in range(len(found)))
    assert [found[place][0] for place in front] == sorted(found[place][0] for place in front)


def test_the_front_by_hand() -> None:
    # (cost, error): 1 is beaten by 0, 3 by 2.
    assert pareto_front([(1, 50), (2, 60), (3, 20), (4, 20), (5, 10)]) == [0, 2, 4]


def test_a_line_of_the_table_is_an_arm_over_its_seeds() -> None:
    outcomes = [an_outcome(50, 20, seed=0), an_outcome(50, 24, seed=1), an_outcome(9, arm="b")]
    first, second = summarise(outcomes)
    assert (first.arm, first.seeds, second.arm, second.seeds) == ("a", 2, "b", 1)
    assert first.rates["wer"] == (22.0, math.sqrt(8))
    assert (first.rounds, first.steps) == (4, 16)
    assert (first.communication_bytes, first.computation_bytes) == (4e9, 12e9)
    assert first.cfmq_bytes == 16e9
    row = dict(zip(table_heads([first]), table_rows([first])[0], strict=True))
    assert row["arm"] == "arm a"
    assert (row["own test %"], row["held out %"], row["total"]) == ("22.0 ± 2.8", "", "16.00")


def test_points_of_the_grid_are_lines_of_their_own() -> None:
    outcomes = [an_outcome(5, point={"plan.data_limit": limit}) for limit in (8, 16)]
    assert [line.name for line in summarise(outcomes)] == [
        "arm a data_limit=8",
        "arm a data_limit=16",
    ]
    assert "arm a data_limit=16" in summary_markdown(summarise(outcomes))


def test_rounds_to_the_target_are_those_of_the_seeds_that_reached_it() -> None:
    runs = [an_outcome(40, 20, seed=s, target=30.0) for s in (0, 1)]
    runs.append(an_outcome(40, 35, seed=2, target=30.0))
    (line,) = summarise(runs)
    assert line.rounds_to_target == (3.0, 2)
    assert "target at 3, 2 of 3" in summary_markdown([line])
    (never,) = summarise(runs[2:])
    assert "not reached" in summary_markdown([never])


def test_a_target_for_speakers_that_nobody_held_out_is_not_reached() -> None:
    (line,) = summarise([an_outcome(40, 20, target=30.0, target_metric="heldout_wer")])
    assert "not reached" in summary_markdown([line])


def test_a_label_does_not_break_the_table() -> None:
    point = {"plan.update_encoding": "a|b"}
    head, _, row = summary_markdown(summarise([an_outcome(9, point=point)])).splitlines()
    assert "a\\|b" in row
    assert row.replace("\\|", "").count("|") == head.count("|")


def test_tables_for_programs_have_a_line_a_trial_and_a_line_an_arm() -> None:
    outcomes = [an_outcome(50, 20, seed=s, point={"plan.batch_size": 4}) for s in (0, 1)]
    trials = list(csv.DictReader(io.StringIO(trials_csv(outcomes))))
    assert [(c["arm"], c["plan.batch_size"], c["seed"], c["wer"]) for c in trials] == [
        ("a", "4", "0", "20.0"),
        ("a", "4", "1", "20.0"),
    ]
    (line,) = csv.DictReader(io.StringIO(summary_csv(summarise(outcomes))))
    assert (line["wer_mean"], line["wer_sd"], line["heldout_wer_mean"]) == ("20.0", "0.0", "")
    assert (line["seeds"], float(line["cfmq_compute_bytes"])) == ("2", 12e9)


def test_every_figure_names_its_lines() -> None:
    lines = summarise([an_outcome(50, 20), an_outcome(60, 30, arm="b"), an_outcome(7, 6, arm="c")])
    drawn = figures(lines, "wer")
    assert set(drawn) == {
        "wer-by-round",
        "wer-by-cfmq",
        "wer-by-bytes",
        "quality-and-cost",
        "pareto",
    }
    for svg in drawn.values():
        assert all(f"arm {name}" in svg for name in "abc")


def test_what_is_left_to_do_is_told_from_the_trials_nearest_to_it() -> None:
    """A round takes 5 s: runs of 2 and 6 rounds took 10 s and 30 s."""
    done = [an_outcome(9), an_outcome(9, 9, 9, arm="b"), an_outcome(9, arm="b", point={"x": 1})]
    assert expected_secs(an_outcome(arm="a", seed=1).trial, done) == 10.0
    assert expected_secs(an_outcome(arm="b", seed=1).trial, done) == 30.0
    assert expected_secs(an_outcome(arm="b", point={"x": 2}).trial, done) == 20.0
    assert expected_secs(an_outcome(arm="new").trial, done) == pytest.approx(50 / 3)
    assert expected_secs(an_outcome().trial, []) is None


def test_the_rest_takes_as_long_as_the_worker_that_ends_last() -> None:
    trial = an_outcome().trial
    done = Standing(trial, True, True, secs=99.0)
    left = [Standing(trial, False, False, expected_secs=secs) for secs in (10.0, 10.0, 30.0)]
    assert remaining_secs([done, *left], 1) == 50.0
    assert remaining_secs([done, *left], 2) == 40.0
    assert remaining_secs([done], 2) == 0.0
    assert remaining_secs([*left, Standing(trial, False, False)], 2) is None

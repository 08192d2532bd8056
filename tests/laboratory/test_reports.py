"""Reports of experiments that were run before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedvoice.laboratory.experiment.again import combine, is_experiment, render_again
from fedvoice.laboratory.experiment.config import ExperimentConfig
from fedvoice.laboratory.experiment.kept import write_outcome
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import trial_dir
from fedvoice.laboratory.experiment.report import EXPERIMENT_FILE, write_experiment
from fedvoice.laboratory.experiment.runner import Failure, Gathered
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.scoring import ErrorCounts
from tests.laboratory.test_outcomes import an_outcome


def an_experiment(folder: Path, name: str, *errors: int) -> tuple[ExperimentConfig, Gathered]:
    """Two seeds of one arm, the second one not done; its trials and its report lie in `folder`."""
    base = {"data": {"corpus": "mnist", "folder": "."}, "task": {}}
    config = ExperimentConfig.model_validate(
        {"name": name, "base": base, "seeds": [0, 1], "metric": "wer", "title": f"<{name}>"}
    )
    done, left = config.trials("f")
    results = an_outcome(*errors).results
    evaluations = {2 * i + 2: {"wer": ErrorCounts(e, 100)} for i, e in enumerate(errors)}
    directory = trial_dir(folder / "trials", done)
    directory.mkdir(parents=True, exist_ok=True)
    outcome: Outcome = write_outcome(done, directory, results, evaluations)
    error = FedvoiceError(
        ErrorCode.MISSING_AUDIO, where="x", got="a & b", wanted="c", next_step="d"
    )
    gathered = Gathered([outcome], [Failure(left, error)])
    write_experiment(folder / name, config, folder / "trials", gathered)
    return config, gathered


def test_a_report_says_what_failed_and_escapes_what_it_is_given(tmp_path: Path) -> None:
    an_experiment(tmp_path, "one", 40, 20)
    page = (tmp_path / "one" / "report.html").read_text()
    assert "missing-audio" in page
    assert "all seed 1" in page
    assert "a &amp; b" in page
    assert "&lt;one&gt;" in page
    assert "<one>" not in page


def test_a_report_once_more_has_what_is_done(tmp_path: Path) -> None:
    an_experiment(tmp_path, "one", 40, 20)
    out = tmp_path / "one"
    summary, trials = ((out / name).read_text() for name in ("summary.csv", "trials.csv"))
    for path in out.iterdir():
        if path.is_file() and path.name != EXPERIMENT_FILE:
            path.unlink()
    assert is_experiment(out)
    assert render_again(out) == out / "report.html"
    assert (out / "summary.csv").read_text() == summary
    assert (out / "trials.csv").read_text() == trials
    assert "Failed" not in (out / "report.html").read_text()


def test_a_report_once_more_needs_neither_the_corpus_nor_the_same_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, gathered = an_experiment(tmp_path, "one", 40, 20)
    trials = (tmp_path / "one" / "trials.csv").read_text()
    monkeypatch.setattr("fedvoice.laboratory.experiment.trials.version", lambda name: "99.0")
    monkeypatch.chdir("/")
    assert config.trials("f")[0].digest != gathered.outcomes[0].trial.digest
    render_again(tmp_path / "one")
    assert (tmp_path / "one" / "trials.csv").read_text() == trials
    combine([tmp_path / "one"], tmp_path / "both")
    assert gathered.outcomes[0].trial.digest[:20] in (tmp_path / "both" / "trials.csv").read_text()


def test_several_experiments_have_one_report(tmp_path: Path) -> None:
    an_experiment(tmp_path / "a", "one", 40, 20)
    an_experiment(tmp_path / "b", "two", 30, 10)
    page = combine([tmp_path / "a" / "one", tmp_path / "b" / "two"], tmp_path / "both").read_text()
    assert "one: all" in page
    assert "two: all" in page
    summary = (tmp_path / "both" / "summary.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in summary[1:]] == ["one/all", "two/all"]
    assert not is_experiment(tmp_path / "both")


def test_what_is_no_experiment_is_not_reported(tmp_path: Path) -> None:
    with pytest.raises(FedvoiceError) as caught:
        render_again(tmp_path)
    assert caught.value.code is ErrorCode.NOT_FOUND
    for text in ("no json", "[]", "{}", json.dumps({"config": {"name": "x"}, "trials_dir": "."})):
        (tmp_path / EXPERIMENT_FILE).write_text(text)
        with pytest.raises(FedvoiceError) as caught:
            render_again(tmp_path)
        assert caught.value.code is ErrorCode.BAD_CONFIG

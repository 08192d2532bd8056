"""Settings files of 0.1.0 are accepted, and trials keep their digests: results are found again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fedvoice.laboratory.experiment.config import load_experiment
from fedvoice.laboratory.tuning.config import load_tuning
from fedvoice.model_export.config import read_config
from fedvoice.simulation.fleet.config import load_config
from tests.compatibility.conftest import read_json


@pytest.fixture
def settings(copy_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copy_of("settings", "settings.json", "experiment.toml", "experiment.json", "features")
    monkeypatch.chdir(folder / "settings")
    return folder


@pytest.mark.parametrize("name", ["noniid-gap", "mnist-ci", "streaming", "an4"])
def test_trials_of_an_experiment_have_the_digests_they_had(
    settings: Path,
    recorded_versions: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    check_digests(
        Path(f"{name}.toml"),
        read_json(settings / "settings.json")[f"{name}.toml"],
        recorded_versions,
        monkeypatch,
    )


def test_so_have_those_of_a_corpus_that_is_there(
    settings: Path, recorded_versions: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(settings)
    wanted = read_json(settings / "experiment.json")["cells"]
    check_digests(Path("experiment.toml"), wanted, recorded_versions, monkeypatch)


def check_digests(
    path: Path, wanted: list[str], versions: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the versions of the libraries that were recorded."""
    trials = load_experiment(path).trials(str(path))
    monkeypatch.setattr(sys.modules[type(trials[0]).__module__], "version", versions.__getitem__)
    assert [trial.digest for trial in trials] == wanted


def test_simulations_exports_and_searches_are_accepted(settings: Path) -> None:
    assert load_config(Path("demo.toml"), {}).server["cohort_size"] == 10
    words = load_config(Path("words.toml"), {})
    assert (words.data.partition, words.plan.spec_augment.time_masks) == ("speaker", 2)
    assert read_config(Path("export-words.toml")).model.kind == "rnnt"
    search = load_tuning(Path("tune-words.toml")).search
    assert search.trials == 40
    assert "plan.client_rate" in search.space

"""An experiment's file: which trials it means, and how its mistakes are named."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from fedvoice.laboratory.experiment import trials
from fedvoice.laboratory.experiment.config import ExperimentConfig, load_experiment
from fedvoice.laboratory.experiment.fields import set_dotted
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.settings import parse_settings

BASE = {"data": {"corpus": "speech", "manifest": "m.jsonl"}, "task": {}, "plan": {"batch_size": 4}}


def make(**fields: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate({"name": "x", "base": BASE, **fields})


def facts(trials: list[Trial]) -> list[tuple[Any, ...]]:
    """(arm, batch size, data limit, seed) of each."""
    plans = [trial.settings.plan for trial in trials]
    return [(c.arm, p.batch_size, p.data_limit, c.seed) for c, p in zip(trials, plans, strict=True)]


def test_every_arm_is_run_at_every_point_of_the_grid_with_every_seed() -> None:
    arms = [{"name": "all"}, {"name": "few", "set": {"plan.data_limit": 2}, "seeds": [7]}]
    config = make(seeds=[0, 1], arms=arms, grid={"plan.batch_size": [1, 8]})
    assert facts(config.trials("f")) == [
        ("all", 1, 0, 0),
        ("all", 1, 0, 1),
        ("all", 8, 0, 0),
        ("all", 8, 0, 1),
        ("few", 1, 2, 7),
        ("few", 8, 2, 7),
    ]
    names = [trial.name for trial in config.trials("f")]
    assert names[0] == "all batch_size=1 seed 0"
    assert len(set(names)) == 6


def test_a_table_that_an_arm_sets_is_its_own_at_every_point_of_the_grid() -> None:
    arms = [{"name": "adam", "set": {"server.optimizer": {"name": "adam"}}}]
    trials = make(arms=arms, grid={"server.optimizer.rate": [0.1, 0.2]}).trials("f")
    rates = [trial.settings.server["optimizer"]["rate"] for trial in trials]
    assert rates == [0.1, 0.2]


def test_without_arms_and_grid_there_is_a_trial_a_seed() -> None:
    assert facts(make(seeds=[3, 5]).trials("f")) == [("all", 4, 0, 3), ("all", 4, 0, 5)]


def test_trials_are_known_by_what_decides_them_and_not_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("{}")
    base = {**BASE, "data": {"corpus": "speech", "manifest": str(tmp_path / "m.jsonl")}}
    arms = [
        {"name": "a"},
        {"name": "b", "label": "the same", "set": {"plan.batch_size": 4}},
        {"name": "c", "set": {"plan.batch_size": 5}},
    ]
    a, b, c = make(base=base, arms=arms).trials("f")
    other_seed = make(base=base, seeds=[1]).trials("f")[0]
    assert a.digest == b.digest
    assert len({a.digest, c.digest, other_seed.digest}) == 3
    # What the manifest says counts, not where it lies.
    (tmp_path / "m.jsonl").rename(tmp_path / "moved.jsonl")
    moved = {**base, "data": {"corpus": "speech", "manifest": str(tmp_path / "moved.jsonl")}}
    assert make(base=moved).trials("f")[0].digest == a.digest
    (tmp_path / "moved.jsonl").write_text("{} ")
    assert make(base=moved).trials("f")[0].digest != a.digest


def test_a_trial_is_known_by_the_texts_that_its_vocabulary_is_made_of(tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("one")
    base = {**BASE, "task": {"vocabulary": {"manifest": str(texts)}}}
    before = make(base=base).trials("f")[0].digest
    assert make(base=base).trials("f")[0].digest == before
    texts.write_text("two")
    assert make(base=base).trials("f")[0].digest != before


def test_another_executorch_is_another_trial_where_the_task_is_exported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def digests() -> list[str]:
        arms = [{"name": "exported"}, {"name": "not", "set": {"export": False}}]
        return [trial.digest for trial in make(arms=arms).trials("f")]

    before = digests()
    monkeypatch.setattr(
        trials, "version", lambda name: "another" if name == "executorch" else version(name)
    )
    assert [now == then for now, then in zip(digests(), before, strict=True)] == [False, True]


def test_fewer_arms_or_other_seeds_may_be_run() -> None:
    config = make(arms=[{"name": "a", "seeds": [9]}, {"name": "b"}], seeds=[0])
    assert [(c.arm, c.seed) for c in config.narrowed([], ["b"], "f").trials("f")] == [("b", 0)]
    narrowed = config.narrowed([4, 5], [], "f").trials("f")
    assert [(c.arm, c.seed) for c in narrowed] == [("a", 4), ("a", 5), ("b", 4), ("b", 5)]
    assert config.narrowed([], [], "f") == config


def test_a_seed_that_is_named_twice_would_be_two_runs_that_agree() -> None:
    with pytest.raises(FedvoiceError, match=r"--seeds: got 4, 4, wanted distinct seeds"):
        make().narrowed([4, 4], [], "file.toml")


def test_an_unknown_arm_is_named() -> None:
    with pytest.raises(FedvoiceError) as caught:
        make(arms=[{"name": "iid"}]).narrowed([], ["idd"], "file.toml")
    error = caught.value
    assert (error.code, error.where, error.got) == (
        ErrorCode.BAD_CONFIG,
        "file.toml, --arms",
        "idd",
    )
    assert "iid" in error.wanted


def test_dotted_names_reach_into_tables_that_need_not_be_there() -> None:
    fields: dict[str, Any] = {"plan": {"batch_size": 8}}
    set_dotted(fields, "plan.batch_size", 2)
    set_dotted(fields, "server.optimizer.rate", 0.5)
    set_dotted(fields, "export", False)
    assert fields == {
        "plan": {"batch_size": 2},
        "server": {"optimizer": {"rate": 0.5}},
        "export": False,
    }
    with pytest.raises(FedvoiceError, match=r"setting export\.x: got export = False"):
        set_dotted(fields, "export.x", 1)


def test_settings_of_the_command_line_are_toml_or_words() -> None:
    given = [
        "server.rounds=8",
        "data.partition=iid",
        'data.kinds=["a", "b"]',
        "export=false",
    ]
    assert parse_settings(given) == {
        "server.rounds": 8,
        "data.partition": "iid",
        "data.kinds": ["a", "b"],
        "export": False,
    }


FILE = """
name = "x"
[base.data]
corpus = "speech"
manifest = "corpus/m.jsonl"
[base.task]
[[arms]]
name = "one"
[[arms]]
name = "two"
set = {}
"""


def load(tmp_path: Path, arm: str = "{}", **overrides: Any) -> list[Trial]:
    path = tmp_path / "x.toml"
    path.write_text(FILE.replace("set = {}", f"set = {arm}"))
    return load_experiment(path, overrides).trials(str(path))


def manifest(trial: Trial) -> Path:
    assert trial.settings.data.corpus == "speech"
    assert trial.settings.data.manifest is not None
    return trial.settings.data.manifest


def test_paths_are_relative_to_the_file_in_arms_and_grids_but_not_on_the_command_line(
    tmp_path: Path,
) -> None:
    one, two = load(tmp_path, '{ "data.manifest" = "other.jsonl" }')
    assert (manifest(one), manifest(two)) == (tmp_path / "corpus/m.jsonl", tmp_path / "other.jsonl")
    _, two = load(tmp_path, '{ data = { corpus = "speech", manifest = "other.jsonl" } }')
    assert manifest(two) == tmp_path / "other.jsonl"
    grid = '{}\n[grid]\n"data.manifest" = ["a.jsonl", "b.jsonl"]\n'
    found = [manifest(trial) for trial in load(tmp_path, grid)]
    assert found == 2 * [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    _, two = load(tmp_path, '{ "task.vocabulary.manifest" = "texts.jsonl" }')
    assert two.settings.task["vocabulary"]["manifest"] == str(tmp_path / "texts.jsonl")
    (trial, _) = load(tmp_path, **{"data.manifest": "here.jsonl"})
    assert manifest(trial) == Path("here.jsonl")


@pytest.mark.parametrize(
    ("arm", "named"),
    [
        ('{ "plan.batchsize" = 3 }', ["arm two", "field plan.batchsize"]),
        ('{ "data.partition" = "random" }', ["arm two", "field data.speech.partition", "random"]),
        ('{ "server.round" = 3 }', ["arm two", "table server", "field round"]),
        ('{ "server.rounds" = -1 }', ["arm two", "table server", "field rounds", "-1"]),
        ('{ "data.corpus" = "mnits" }', ["arm two", "data", "mnits"]),
        ('{ "engine" = "warp" }', ["arm two", "field engine", "warp"]),
        ('{ "plan.seed.x" = 3 }', ["setting plan.seed.x", "bad-config"]),
        ('{ "data.synthetic.voices" = 3 }', ["arm two", "data.speech"]),
    ],
)
def test_a_bad_setting_names_file_arm_and_field(tmp_path: Path, arm: str, named: list[str]) -> None:
    if "plan.seed" in arm:
        arm = '{ "plan.seed" = 1, "plan.seed.x" = 3 }'
    with pytest.raises(FedvoiceError) as caught:
        load(tmp_path, arm)
    assert caught.value.code is ErrorCode.BAD_CONFIG
    for part in named:
        assert part in str(caught.value)
    if "arm two" in named:
        assert str(tmp_path / "x.toml") in caught.value.where


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        (None, ErrorCode.NOT_FOUND, "x.toml"),
        ("name = x", ErrorCode.BAD_CONFIG, "line 1"),
        ('name = "a b"\n[base]', ErrorCode.BAD_CONFIG, "field name"),
        ('name = "x"\nbase = 3', ErrorCode.BAD_CONFIG, "field base"),
        ('name = "x"\nseeds = []\n[base]', ErrorCode.BAD_CONFIG, "field seeds"),
        (
            'name = "x"\narms = [{ name = "a" }, { name = "a" }]\n[base]',
            ErrorCode.BAD_CONFIG,
            "the same name",
        ),
        ('name = "x"\ngrid = { "a.b" = [] }\n[base]', ErrorCode.BAD_CONFIG, "no values"),
        (
            'name = "x"\narms = [{ name = "o", set = { b = 2 }, grid = { b = [1] } }]\n[base]',
            ErrorCode.BAD_CONFIG,
            "arm o sets b",
        ),
        ('name = "x"\nseeds = [1, 1]\n[base]', ErrorCode.BAD_CONFIG, "seeds has a value twice"),
        ('name = "x"\ngrid = { "a.b" = [2, 2.0] }\n[base]', ErrorCode.BAD_CONFIG, "a.b has a"),
    ],
    ids=[
        "no file",
        "no TOML",
        "name",
        "base",
        "seeds",
        "arms",
        "grid",
        "both",
        "twice",
        "grid twice",
    ],
)
def test_a_bad_experiment_file_is_named(
    tmp_path: Path, text: str | None, code: ErrorCode, named: str
) -> None:
    path = tmp_path / "x.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(FedvoiceError) as caught:
        load_experiment(path)
    assert caught.value.code is code
    assert named in str(caught.value)

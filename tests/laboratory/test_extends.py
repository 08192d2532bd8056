"""`extends`: a file's [base] laid over that of another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedvoice.laboratory.experiment.config import load_experiment
from fedvoice.laboratory.experiment.fields import laid_over, read_fields
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.laboratory.tuning.config import load_tuning
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

BELOW = """
name = "below"
seeds = [7, 8]
metric = "wer"
[base]
average_last = 3
[base.data]
corpus = "speech"
manifest = "m.jsonl"
kinds = ["isolated", "strings"]
[base.task]
[base.plan]
batch_size = 8
data_limit = 4
[base.server.optimizer]
name = "adam"
rate = 0.5
[[arms]]
name = "one"
[[arms]]
name = "two"
[grid]
"plan.batch_size" = [1, 2]
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def manifest(trial: Trial) -> Path:
    assert trial.settings.data.corpus == "speech"
    assert trial.settings.data.manifest is not None
    return trial.settings.data.manifest


def refused(path: Path) -> FedvoiceError:
    with pytest.raises(FedvoiceError) as caught:
        load_experiment(path)
    return caught.value


def test_tables_are_merged_and_all_else_is_replaced() -> None:
    under = {"a": {"b": 1, "c": {"d": 2}}, "list": [1, 2], "value": 3, "table": {"x": 1}}
    over = {"a": {"c": {"e": 4}}, "list": [5], "table": 6, "value": {"y": 7}, "new": {}}
    before = str((under, over))
    assert laid_over(under, over) == {
        "a": {"b": 1, "c": {"d": 2, "e": 4}},
        "list": [5],
        "table": 6,
        "value": {"y": 7},
        "new": {},
    }
    assert str((under, over)) == before


def test_where_tables_stay_tables_merging_is_associative_with_the_empty_one_as_unit() -> None:
    a: dict[str, Any] = {"p": {"q": 1, "r": [1]}, "s": 1}
    b: dict[str, Any] = {"p": {"r": [2], "t": {"u": 3}}}
    c: dict[str, Any] = {"p": {"t": {"v": 4}}, "s": 5}
    assert laid_over(laid_over(a, b), c) == laid_over(a, laid_over(b, c))
    assert laid_over(a, {}) == laid_over({}, a) == laid_over(a, a) == a


def test_the_base_is_taken_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, "below.toml", BELOW)
    text = """
        name = "above"
        extends = "below.toml"
        base.data.kinds = ["isolated"]
        base.plan.data_limit = 2
        base.server.optimizer.rate = 0.1
        """
    above = load_experiment(write(tmp_path, "above.toml", text))
    assert (above.name, above.seeds, above.metric, above.grid) == ("above", (0,), "pooled", {})
    (trial,) = above.trials("f")
    settings = trial.settings
    assert (settings.average_last, settings.plan.batch_size, settings.plan.data_limit) == (3, 8, 2)
    assert settings.server == {"optimizer": {"name": "adam", "rate": 0.1}}
    assert settings.data.corpus == "speech"
    assert settings.data.kinds == ("isolated",)


def test_the_same_settings_are_the_same_trials_whether_extended_or_written_out(
    tmp_path: Path,
) -> None:
    write(tmp_path, "m.jsonl", "{}")
    alone = load_experiment(write(tmp_path, "below.toml", BELOW)).trials("f")
    arms = BELOW[BELOW.index("[[arms]]") :]
    text = 'name = "above"\nextends = "below.toml"\nseeds = [7, 8]\n' + arms
    above = load_experiment(write(tmp_path, "above.toml", text)).trials("f")
    assert [trial.digest for trial in above] == [trial.digest for trial in alone]


def test_files_extend_one_another_in_a_chain_with_paths_relative_to_who_says_them(
    tmp_path: Path,
) -> None:
    write(tmp_path, "corpora/below.toml", BELOW)
    write(tmp_path, "middle.toml", 'extends = "corpora/below.toml"\nbase.plan.data_limit = 2')
    text = """
        name = "top"
        extends = "../middle.toml"
        base.plan.batch_size = 1
        arms = [{ name = "a" }, { name = "b", set = { "data.manifest" = "own.jsonl" } }]
        """
    a, b = load_experiment(write(tmp_path, "mine/top.toml", text)).trials("f")
    assert (a.settings.plan.batch_size, a.settings.plan.data_limit) == (1, 2)
    found = [manifest(trial).resolve() for trial in (a, b)]
    assert found == [tmp_path / "corpora/m.jsonl", tmp_path / "mine/own.jsonl"]


def test_a_search_extends_an_experiment(tmp_path: Path) -> None:
    write(tmp_path, "below.toml", BELOW)
    text = """
        name = "search"
        extends = "below.toml"
        base.plan.client_rate = 0.5
        [search.space]
        "plan.data_limit" = { choices = [2, 4] }
        """
    search = load_tuning(write(tmp_path, "search.toml", text))
    assert search.metric == "pooled"
    assert search.base["plan"] == {"batch_size": 8, "data_limit": 4, "client_rate": 0.5}
    assert search.base["data"]["manifest"] == str(tmp_path / "m.jsonl")


def test_the_command_line_has_the_last_word(tmp_path: Path) -> None:
    write(tmp_path, "below.toml", BELOW)
    above = write(tmp_path, "above.toml", 'extends = "below.toml"\nbase.plan.data_limit = 2')
    assert read_fields(above, {"plan.data_limit": 1})["base"]["plan"]["data_limit"] == 1


def test_files_that_extend_each_other_in_a_circle_are_named(tmp_path: Path) -> None:
    a = write(tmp_path, "a.toml", 'name = "a"\nextends = "sub/b.toml"\n[base]')
    b = write(tmp_path, "sub/b.toml", 'extends = "../a.toml"\n[base]')
    error = refused(a)
    assert (error.code, error.where) == (ErrorCode.BAD_CONFIG, f"{b}, field extends")
    assert error.got.startswith(f"{a} extends {b} extends ")
    itself = write(tmp_path, "c.toml", 'name = "c"\nextends = "c.toml"\n[base]')
    assert refused(itself).code is ErrorCode.BAD_CONFIG


def test_a_missing_file_is_named_with_the_one_that_wants_it(tmp_path: Path) -> None:
    above = write(tmp_path, "above.toml", 'name = "a"\nextends = "gone.toml"')
    error = refused(above)
    assert (error.code, error.where) == (ErrorCode.NOT_FOUND, str(tmp_path / "gone.toml"))
    assert str(above) in error.wanted
    assert str(above) in error.next_step


@pytest.mark.parametrize(
    ("above", "below", "named"),
    [
        ("extends = 3", "[base]", ["above.toml, field extends", "3"]),
        ('extends = "below.toml"', 'name = "no base"', ["above.toml, field extends", "below.toml"]),
        ('extends = "below.toml"', "base = 3", ["above.toml, field extends", "below.toml"]),
        ('extends = "below.toml"', "base = = 3", ["below.toml: got", "line 1"]),
        ('extends = "below.toml"\nbase = 3', "[base]", ["above.toml, field base"]),
    ],
    ids=["no text", "no base", "base no table", "no TOML", "own base no table"],
)
def test_what_cannot_be_extended_is_named(
    tmp_path: Path, above: str, below: str, named: list[str]
) -> None:
    write(tmp_path, "below.toml", below)
    error = refused(write(tmp_path, "above.toml", f'name = "a"\n{above}'))
    assert error.code is ErrorCode.BAD_CONFIG
    for part in named:
        assert part in str(error)

"""The scripts of `examples/` run, and end as they promise."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module


def test_every_example_is_run_here() -> None:
    run_here = {"own_corpus", "own_module", "own_rules", "callbacks", "own_server"}
    run_here |= {"own_client_rule", "export_module"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == run_here
    for path in EXAMPLES.glob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len([line for line in lines if line.strip()]) <= 75, path.name


def test_a_fleet_learns_ones_own_corpus(example: Any) -> None:
    run = example("own_corpus").main()
    assert run.rates["heldout_wer"] < 20
    assert run.cfmq_bytes > 0


def test_ones_own_module_learns_on_the_fast_engine(example: Any) -> None:
    run = example("own_module").main()
    assert run.rates["wer"] < 20
    assert type(run.module().module).__name__ == "Spotter"


@pytest.mark.slow
def test_ones_own_module_becomes_a_program_that_learns(example: Any) -> None:
    first, last = example("export_module").main()
    assert last < 0.2 * first


def test_ones_own_optimiser_and_link_train(example: Any) -> None:
    rates = example("own_rules").main()
    assert list(rates) == ["averaging", "signs", "median"]
    assert all(rate < 50 for rate in rates.values())


def test_a_callback_keeps_a_curve_and_stops_the_run(example: Any) -> None:
    stop = example("callbacks").main()
    assert stop.curve[-1][1] <= 5.0 < stop.curve[0][1]
    assert [cost for cost, _ in stop.curve] == sorted(cost for cost, _ in stop.curve)


def test_ones_own_client_rule_trains_on_the_fast_engine(example: Any) -> None:
    assert example("own_client_rule").simulated() < 20


@pytest.mark.slow
def test_ones_own_client_rule_trains_on_the_phones_that_have_it(
    example: Any, tmp_path: Path
) -> None:
    assert example("own_client_rule").on_a_phone(tmp_path) == [
        "without the rule: no-work",
        "with the rule: trained",
    ]


@pytest.mark.slow
def test_a_server_and_a_phone_in_one_process(example: Any, tmp_path: Path) -> None:
    assert example("own_server").main(tmp_path) == ["round 1: committed", "round 2: committed"]
    assert (tmp_path / "store" / "weights.safetensors").is_file()


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(EXAMPLES / "federated.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=240, resources=resources).execute()
    said = "".join(
        out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", [])
    )
    assert "held-out" in said

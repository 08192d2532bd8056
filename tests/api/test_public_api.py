"""`import fedvoice`: its names, what it loads, runs that are resumed, plug-ins that fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fedvoice

NAMES = [
    "AlgorithmConfig",
    "Callback",
    "Contract",
    "Dataset",
    "Example",
    "FedvoiceError",
    "MappingDataset",
    "ModelKind",
    "OptimizerConfig",
    "OptimizerState",
    "ParameterTable",
    "Results",
    "RoundEnd",
    "RoundResult",
    "Seen",
    "Sees",
    "ServerConfig",
    "Simulation",
    "TensorBatch",
    "TrainingPlan",
    "Verdict",
    "__version__",
    "callbacks",
    "client_rules",
    "datasets",
    "engines",
    "export",
    "export_task",
    "model_kinds",
    "module_kind",
    "open_phone",
    "partitions",
    "server_optimizers",
    "simulate",
    "start_server",
    "update_links",
    "worker_pools",
]


def test_the_exported_names_are_these_and_each_can_be_had() -> None:
    assert sorted(fedvoice.__all__) == sorted(NAMES)
    for name in NAMES:
        assert getattr(fedvoice, name) is not None
        assert name in dir(fedvoice)
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        fedvoice.simulat  # noqa: B018


def test_a_type_checker_sees_what_is_exported() -> None:
    """The imports that only type checkers read name the same things."""
    source = Path(fedvoice.__file__).read_text(encoding="utf-8")
    script = (
        source.replace("if TYPE_CHECKING:", "if True:")
        + "\nprint(sorted(set(__all__) & set(globals())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(sorted(NAMES))


def test_importing_it_loads_neither_torch_nor_pydantic() -> None:
    script = (
        "import sys, fedvoice\n"
        "assert not {'torch', 'executorch', 'pydantic', 'grpc', 'numpy'} & set(sys.modules)\n"
        "fedvoice.AlgorithmConfig, fedvoice.Callback, fedvoice.callbacks\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


random = np.random.default_rng(7)
SHAPES = random.normal(size=(3, 8, 6)).astype(np.float32)


def examples(count: int) -> list[tuple[np.ndarray, list[int]]]:
    chosen = random.integers(3, size=count)
    return [(SHAPES[i] + random.normal(0, 0.3, SHAPES[i].shape), [int(i) + 1]) for i in chosen]


CORPUS = fedvoice.MappingDataset(
    {f"client{i}": examples(6) for i in range(6)}, test={"all": examples(12)}
)


def run(**options: object) -> fedvoice.Simulation:
    settings: dict[str, object] = {
        "rounds": 4,
        "cohort_size": 3,
        "plan": {"client_rate": 0.1, "batch_size": 3},
        "optimizer": {"name": "adam", "rate": 0.05},
        "algorithm": {"evaluate_every": 2},
        "task": {"features": {"stack": 2}},
    }
    return fedvoice.simulate(CORPUS, f"{__name__}:Linear", **{**settings, **options})  # type: ignore[arg-type]


def _linear() -> type:
    import torch
    from torch import nn

    class Linear(nn.Module):
        def __init__(self, input_size: int, vocabulary_size: int) -> None:
            super().__init__()
            self.head = nn.Linear(input_size, vocabulary_size)

        def loss(self, batch: fedvoice.TensorBatch) -> torch.Tensor:
            scores = self.head(batch.features).mean(1)
            return nn.functional.cross_entropy(scores, batch.targets[:, 0], reduction="none")

        def decode(self, batch: fedvoice.TensorBatch) -> list[list[int]]:
            return [[int(i)] for i in self.head(batch.features).mean(1).argmax(-1)]

    Linear.__qualname__ = "Linear"
    return Linear


Linear = _linear()


class StopAfter(fedvoice.Callback):
    """Raises after a round, as Ctrl-C might."""

    def __init__(self, number: int) -> None:
        self.number, self.seen = number, list[int]()

    def round_ended(self, end: fedvoice.RoundEnd) -> bool:
        self.seen.append(end.result.round)
        if end.result.round == self.number:
            raise KeyboardInterrupt
        return False


def test_a_run_that_was_stopped_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    whole, stop, rest = run(), StopAfter(2), StopAfter(0)
    with pytest.raises(KeyboardInterrupt):
        run(out=tmp_path / "run", callbacks=[stop])
    resumed = run(out=tmp_path / "run", callbacks=[rest])
    assert (stop.seen, rest.seen) == ([1, 2], [3, 4])
    assert np.array_equal(resumed.weights, whole.weights)
    assert resumed.rates == whole.rates
    again = run(out=tmp_path / "run", callbacks=[StopAfter(1)])  # it is done: nothing runs
    assert np.array_equal(again.weights, whole.weights)
    assert again.rates == whole.rates


class EndAfter(fedvoice.Callback):
    def __init__(self, number: int) -> None:
        self.number = number

    def round_ended(self, end: fedvoice.RoundEnd) -> bool:
        return end.result.round == self.number


def test_a_run_that_a_callback_ended_is_no_finished_one(tmp_path: Path) -> None:
    """Callbacks are no part of a run's settings: without them the same call goes to the end."""
    short = run(out=tmp_path, callbacks=[EndAfter(2)])
    assert len(short.results.rounds) == 2
    assert short.rates  # it is judged all the same
    assert np.array_equal(run(out=tmp_path).weights, run().weights)


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    run(out=tmp_path, rounds=1)
    for other in ({"rounds": 2}, {"seed": 1}, {"plan": {"client_rate": 0.2}}):
        with pytest.raises(fedvoice.FedvoiceError, match="exists"):
            run(out=tmp_path, **other)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(fedvoice.FedvoiceError, match="other files"):
        run(out=tmp_path / "other")


@pytest.mark.slow
def test_workers_come_to_the_same_bits_with_what_is_plugged_in() -> None:
    assert np.array_equal(run(workers=2).weights, run().weights)


def refused(*facts: str, **options: object) -> None:
    with pytest.raises(fedvoice.FedvoiceError) as caught:
        run(**options)
    for fact in facts:
        assert fact in str(caught.value)


def test_what_no_worker_can_import_is_refused_by_name() -> None:
    class Local:
        contract = fedvoice.Contract()

        def __call__(self, seen: fedvoice.Seen) -> fedvoice.Verdict:
            return fedvoice.Verdict(1)

    assert run(links=[Local]).rates  # here it serves
    refused("Local", "one worker", links=[Local], workers=2)


class Broken(fedvoice.Callback):
    def round_ended(self, end: fedvoice.RoundEnd) -> bool:
        raise ZeroDivisionError("in a user's callback")


def test_a_plug_in_that_fails_names_itself() -> None:
    refused("Broken", "ZeroDivisionError", callbacks=[f"{__name__}:Broken"])
    refused("nobodys", "bad-plugin", callbacks=["nobodys"])


def test_wrong_settings_say_what_was_wanted() -> None:
    refused("field rounds", "AlgorithmConfig", rounds=-1)
    refused("field client_rate", plan={"client_rate": 0})
    refused("engine", "cohorts", engine="phones")
    refused("update link clip, options", links=[{"name": "clip", "nrm": 1}])
    refused("'name'", optimizer={"rate": 1.0})
    refused("seed", plan={"seed": 7})
    refused("beside them nrom", links=[{"name": "clip", "options": {"norm": 1.0}, "nrom": 2}])
    refused("simulate, algorithm", "rounds", algorithm={"rounds": 3})


RUN_AND_SAY_SO = """
import sys, time
from pathlib import Path
import fedvoice
from tests.api.test_public_api import run

class Slow(fedvoice.Callback):
    def round_ended(self, end):
        print("running", flush=True)
        time.sleep(600)
        return False

run(out=Path(sys.argv[1]), callbacks=[Slow()])
"""


def test_a_folder_in_which_a_run_is_under_way_is_refused_until_that_ends(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-c", RUN_AND_SAY_SO, str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "running\n"
            refused("exists", "another process runs in this folder", out=out)
        finally:
            other.kill()
    assert np.array_equal(run(out=out).weights, run().weights)


def phone(state: Path, client_id: str = "") -> str:
    with fedvoice.open_phone(state, "127.0.0.1:1", client_id=client_id) as opened:
        return opened.client_id


def test_a_phone_keeps_the_name_that_it_began_with(tmp_path: Path) -> None:
    assert phone(tmp_path / "anna", "anna") == "anna"
    assert phone(tmp_path / "anna") == phone(tmp_path / "anna", "anna") == "anna"
    drawn = phone(tmp_path / "drawn")
    assert phone(tmp_path / "drawn") == drawn
    with pytest.raises(fedvoice.FedvoiceError, match="bad-config") as caught:
        phone(tmp_path / "anna", "berta")
    assert "'anna'" in str(caught.value)
    assert "'berta'" in str(caught.value)
    for name in ("zoë", " anna", "anna\n"):
        with pytest.raises(fedvoice.FedvoiceError, match="bad-config"):
            phone(tmp_path / "new", name)
    assert phone(tmp_path / "new", "cleo") == "cleo"


def test_a_phone_that_runs_is_not_opened_twice(tmp_path: Path) -> None:
    with (
        fedvoice.open_phone(tmp_path, "127.0.0.1:1"),
        pytest.raises(fedvoice.FedvoiceError, match="exists"),
    ):
        phone(tmp_path)
    phone(tmp_path)

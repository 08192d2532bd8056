"""What a run tells a tracker is read back with the tracker's own library, in another process."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedvoice.protocol.errors import FedvoiceError
from fedvoice.reporting.callbacks import Callbacks, RoundEnd, RunInfo, make_callbacks
from fedvoice.reporting.following import Following
from fedvoice.reporting.rates import rates_in
from fedvoice.reporting.results import Books, Results, RoundResult
from fedvoice.reporting.trackers import tracker
from tests.rounds import a_round

CONFIG = {
    "name": "tiny",
    "seed": 7,
    "server": {"optimizer": {"name": "adam", "rate": 0.01}, "links": ["clip", "weight"]},
    "insecure": True,
    "manifest": None,
    "tokens": ["word"] * 1000,
}
RATES = {1: 99.0, 2: None, 3: 41.5}
LOSSES = {1: 3.0, 2: 1.5, 3: 1.0}
FACT = "training: 20 utterances used; left out: 2 too-short (first: a.wav)"


def logged_round(number: int) -> RoundResult:
    return a_round(number, loss=LOSSES[number], wer=RATES[number])


def tell(name: str, folder: Path, *, first: int = 1, last: int = 3, ends: bool = True) -> None:
    """A run of three rounds, or a part of it, as the driver of rounds tells it."""
    (folder / "report.html").write_text("<p>a report</p>")
    (folder / "weights.safetensors").write_bytes(b"weights")
    rows = [logged_round(number) for number in range(1, last + 1)]
    results = Results(rows, {"wer": 41.5, "complete": True, "usage": {"train": {"used": 20}}})
    results.write(folder)
    told = Callbacks(make_callbacks([name]))
    told.stated(FACT)
    told.began(RunInfo("tiny run", 3, first - 1, CONFIG, folder, resumed=first > 1))
    for row in rows[first - 1 :]:
        assert not told.round_ended(RoundEnd(row, 3, rates_in(row)))
    if ends:
        told.ended(results)


def elsewhere(script: str, folder: Path) -> Any:
    """What a script prints as JSON, run in a process of its own; `folder` is its argument."""
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "csv" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv(tmp_path: Path) -> None:
    tell("csv", tmp_path)
    settings = {row["name"]: row["value"] for row in rows_of(tmp_path, "settings")}
    assert settings["server.optimizer.rate"] == "0.01"
    assert settings["server.links"] == '["clip", "weight"]'
    assert settings["stated"] == FACT
    assert settings["final/usage.train.used"] == "20.0"
    assert settings["artefact"] == str(tmp_path / "weights.safetensors")
    rounds = rows_of(tmp_path, "rounds")
    assert [(row["round"], row["loss"], row["end"]) for row in rounds] == [
        ("1", "3.0", "goal"),
        ("2", "1.5", "goal"),
        ("3", "1.0", "goal"),
    ]
    assert rows_of(tmp_path, "evaluations") == [
        {"round": "1", "rate": "wer", "percent": "99.0"},
        {"round": "3", "rate": "wer", "percent": "41.5"},
    ]


def test_csv_of_a_resumed_run_has_every_round_once(tmp_path: Path) -> None:
    """A run that died after round 2, its last checkpoint that of round 1, runs round 2 again."""
    tell("csv", tmp_path, last=2, ends=False)
    with (tmp_path / "csv" / "rounds.csv").open("a") as file:
        file.write("3,1.")  # what a crash cuts short
    tell("csv", tmp_path, first=2)
    assert [row["round"] for row in rows_of(tmp_path, "rounds")] == ["1", "2", "3"]


READ_TENSORBOARD = """
import json, sys
from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2
folder = sys.argv[1] + "/tensorboard"
found = event_accumulator.EventAccumulator(folder, size_guidance={"scalars": 0, "tensors": 0})
found.Reload()
scalars = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
texts = {tag: found.Tensors(tag)[0].tensor_proto.string_val[0].decode()
         for tag in found.Tags()["tensors"]}
plugins = plugin_event_accumulator.EventAccumulator(folder); plugins.Reload()
content = plugins.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
settings = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
print(json.dumps({"scalars": scalars, "texts": texts, "settings": settings}))
"""


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    tell("tensorboard", tmp_path)
    found = elsewhere(READ_TENSORBOARD, tmp_path)
    assert found["scalars"]["loss"] == [[1, 3.0], [2, 1.5], [3, 1.0]]
    assert found["scalars"]["wer"] == [[1, 99.0], [3, 41.5]]
    assert found["scalars"]["final/wer"] == [[3, 41.5]]
    assert "|seed|7|" in found["texts"]["settings"]
    assert found["texts"]["facts"] == FACT
    assert str(tmp_path / "results.json") in found["texts"]["artefacts"]
    assert found["settings"]["server.optimizer.rate"] == 0.01
    assert found["settings"]["insecure"] is True
    assert found["settings"]["server.optimizer.name"] == "adam"


def test_tensorboard_of_a_resumed_run_has_every_round_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    tell("tensorboard", tmp_path, last=2, ends=False)
    tell("tensorboard", tmp_path, first=2)
    found = elsewhere(READ_TENSORBOARD, tmp_path)
    assert found["scalars"]["loss"] == [[1, 3.0], [2, 1.5], [3, 1.0]]


READ_MLFLOW = """
import json, sys
from mlflow.tracking import MlflowClient
client = MlflowClient(tracking_uri="sqlite:///" + sys.argv[1] + "/mlflow.db")
experiment = client.get_experiment_by_name("fedvoice")
runs = client.search_runs([experiment.experiment_id])
run = runs[0]
history = {name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
           for name in run.data.metrics}
files = [file.path for file in client.list_artifacts(run.info.run_id)]
print(json.dumps({"runs": len(runs), "name": run.info.run_name, "status": run.info.status,
                  "params": run.data.params, "tags": run.data.tags, "history": history,
                  "files": files}))
"""


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told in two parts, as a run that is resumed: one run with every round."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    tell("mlflow", tmp_path, last=2, ends=False)
    tell("mlflow", tmp_path, first=3)
    found = elsewhere(READ_MLFLOW, tmp_path)
    assert (found["runs"], found["name"], found["status"]) == (1, "tiny run", "FINISHED")
    assert found["params"]["server.optimizer.rate"] == "0.01"
    assert found["params"]["tokens"].endswith("...")
    assert found["history"]["loss"] == [[1, 3.0], [2, 1.5], [3, 1.0]]
    assert found["history"]["wer"] == [[1, 99.0], [3, 41.5]]
    assert found["history"]["final/wer"] == [[3, 41.5]]
    assert found["tags"]["fact 1"] == FACT
    assert found["tags"]["weights"] == str(tmp_path / "weights.safetensors")
    assert sorted(found["files"]) == ["report.html", "results.json"]


READ_WANDB = """
# The log's framing is LevelDB's: 7 bytes at the front, blocks of 32 KiB, each record with a
# checksum, a length and a type (1: whole, 2, 3, 4: first, middle, last part of one).
import glob, json, struct, sys
from wandb.proto import wandb_internal_pb2 as pb
(path,) = glob.glob(sys.argv[1] + "/wandb/offline-run-*/*.wandb")
data, place, part, records = open(path, "rb").read(), 7, b"", []
while place + 7 <= len(data):
    if 32768 - place % 32768 < 7:
        place += 32768 - place % 32768
        continue
    _, length, kind = struct.unpack_from("<IHB", data, place)
    part += data[place + 7 : place + 7 + length]
    place += 7 + length
    if kind in (1, 4):
        records.append(pb.Record.FromString(part))
        part = b""
def items(own):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in own}
config, history, summary, files = {}, [], {}, []
for record in records:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        config |= items(record.run.config.update)
        name, notes = record.run.display_name, record.run.notes
    elif kind == "history":
        history.append({"step": record.history.step.num, **items(record.history.item)})
    elif kind == "summary":
        summary |= items(record.summary.update)
    elif kind == "files":
        files += [file.path for file in record.files.files]
print(json.dumps({"name": name, "notes": notes, "config": config, "history": history,
                  "summary": summary, "files": files}))
"""


def test_wandb_stays_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    tell("wandb", tmp_path)
    found = elsewhere(READ_WANDB, tmp_path)
    assert (found["name"], found["notes"]) == ("tiny run", FACT)
    assert found["config"]["server.optimizer.rate"] == 0.01
    assert found["config"]["insecure"] is True
    assert [(row["step"], row["loss"], row.get("wer")) for row in found["history"]] == [
        (1, 3.0, 99.0),
        (2, 1.5, None),
        (3, 1.0, 41.5),
    ]
    assert found["summary"]["final/wer"] == 41.5
    assert found["summary"]["weights"] == str(tmp_path / "weights.safetensors")
    assert sorted(set(found["files"])) >= ["report.html", "results.json"]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_names_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "find_spec", lambda package: None)
    with pytest.raises(FedvoiceError, match=rf"pip install 'fedvoice\[{name}\]'.*missing-extra"):
        make_callbacks([name])


def test_what_a_tracker_raises_names_it(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    (told,) = make_callbacks([{"name": "mlflow", "uri": "no-such-store://x"}])
    with pytest.raises(FedvoiceError, match=r"tracker MlFlow: got .*no-such-store.*bad-plugin"):
        told.began(RunInfo("tiny", 3, folder=tmp_path))
    (tmp_path / "csv").write_text("a file where a folder should be")
    (told,) = make_callbacks(["csv"])
    with pytest.raises(FedvoiceError, match="not-writable"):
        told.began(RunInfo("tiny", 3, folder=tmp_path))


def test_a_round_of_a_server_is_told_once_its_evaluation_is_in() -> None:
    told: list[tuple[int, dict[str, float]]] = []

    class Heard(Callbacks):
        def round_ended(self, end: RoundEnd) -> bool:
            told.append((end.result.round, dict(end.rates)))
            return False

    following = Following(Heard([]), 3)

    def books(*rows: RoundResult) -> Books:
        return Books(list(rows), None, None, 0, 0, 0)

    one, two, three = (logged_round(number) for number in (1, 2, 3))
    waiting = RoundResult(**{**vars(one), "wer": None})
    following.show(books(waiting))
    assert not told
    following.show(books(one, two))
    following.show(books(one, two))
    assert told == [(1, {"wer": 99.0})]
    following.show(books(one, two, three), last=True)
    following.show(books(one, two, three), last=True)
    assert told[1:] == [(2, {}), (3, {"wer": 41.5})]

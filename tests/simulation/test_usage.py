"""Law 11: before it trains, a simulation says what it uses of a corpus and what it leaves out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fedvoice
from fedvoice.data.memory import MappingDataset
from fedvoice.data.speech import SpeechCorpus
from fedvoice.device_runtime.store import Split
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.reporting.callbacks import Callback
from fedvoice.simulation.fleet.config import FleetConfig
from fedvoice.simulation.fleet.phones import set_up_phones
from fedvoice.simulation.populations import export_config
from fedvoice.simulation.tasks import unexported_task
from fedvoice.simulation.usage import CorpusUsage, kept_usage, said_of_manifests

RATE = 16000
TASK = {
    "model": {"kind": "ctc", "encoder": {"layers": 1, "hidden_size": 8}},
    "vocabulary": {"tokens": ["no", "yes"]},
    "buckets": [{"frames": 10, "labels": 1, "batch": 2}],
}


class Notes(Callback):
    """What a run said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def noted(self, what: str) -> None:
        self.said.append(what)


def noise(secs: float, seed: int = 0) -> np.ndarray:
    draws = np.random.default_rng(seed).normal(0, 0.1, int(secs * RATE))
    return draws.astype(np.float32)


def corpus(folder: Path, faults: dict[str, tuple[np.ndarray, str]], good: int) -> SpeechCorpus:
    """Utterances of one speaker: `good` usable ones, and the faults."""
    speech = {f"good{i}.wav": (noise(0.5, i), "yes" if i % 2 else "no") for i in range(good)}
    lines = []
    for name, (samples, text) in {**speech, **faults}.items():
        soundfile.write(folder / name, samples, RATE, subtype="FLOAT")
        line = {"audio_filepath": name, "text": text, "duration": len(samples) / RATE}
        lines.append(json.dumps({**line, "speaker": "anna"}))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return SpeechCorpus(manifest=folder / "manifest.jsonl")


def faulty(folder: Path, good: int) -> SpeechCorpus:
    broken = noise(0.5)
    broken[100] = np.nan
    return corpus(
        folder,
        {
            "short.wav": (noise(0.01), "yes"),
            "long.wav": (noise(2.0), "yes"),
            "words.wav": (noise(0.5), "yes no"),
            "other.wav": (noise(0.5), "maybe"),
            "nan.wav": (broken, "no"),
            "silent.wav": (np.zeros(RATE // 2, np.float32), "no"),
        },
        good,
    )


def run(data: object, **options: object) -> tuple[fedvoice.Simulation, list[str]]:
    notes = Notes()
    options = {"rounds": 1, "cohort_size": 1, "task": TASK, "callbacks": [notes], **options}
    return fedvoice.simulate(data, TASK["model"], **options), notes.said  # type: ignore[arg-type]


def test_every_reason_is_counted_said_before_training_and_kept_in_the_results(tmp_path):
    result, said = run(faulty(tmp_path, good=54), plan={"data_limit": 4})
    (line,) = [text for text in said if text.startswith("training:")]
    assert line.startswith("training: 54 utterances used; left out: ")
    assert f"1 too-short (first: {tmp_path / 'short.wav'})" in line
    kept = result.results.final["usage"]["train"]
    assert kept["used"] == 54
    assert kept["left_out"] == {
        "too-short": 1,
        "too-long": 1,
        "too-many-tokens": 1,
        "unknown-token": 1,
        "not-finite": 1,
        "silent": 1,
    }


def test_a_corpus_of_which_a_tenth_is_unusable_stops_the_run_unless_it_is_allowed(tmp_path):
    data = faulty(tmp_path, good=20)
    with pytest.raises(FedvoiceError, match="20 utterances used; left out: ") as caught:
        run(data)
    assert caught.value.code is ErrorCode.TOO_LITTLE_USABLE
    assert "--allow-skipped" in caught.value.next_step
    result, _ = run(data, allow_skipped=True, plan={"data_limit": 4})
    assert result.results.final["usage"]["train"]["used"] == 20


def test_one_reason_alone_is_the_errors_code(tmp_path):
    data = corpus(tmp_path, {f"{i}.wav": (noise(0.5), "what") for i in range(3)}, good=2)
    with pytest.raises(FedvoiceError, match="3 unknown-token") as caught:
        run(data)
    assert caught.value.code is ErrorCode.UNKNOWN_TOKEN


def test_nothing_to_train_on_stops_whatever_is_allowed(tmp_path):
    data = corpus(tmp_path, {"0.wav": (noise(0.5), "what")}, good=0)
    with pytest.raises(FedvoiceError, match="speech to train on"):
        run(data, allow_skipped=True)


def test_arrays_are_counted_as_recordings_are():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(40, 40)).astype(np.float32) for _ in range(12)]
    examples = [(array, "yes") for array in arrays[:11]] + [(arrays[11], "maybe")]
    result, _ = run(MappingDataset({"anna": examples}), task={**TASK, "features": {}})
    assert result.results.final["usage"]["train"]["left_out"] == {"unknown-token": 1}


def test_counts_survive_the_disk():
    usage = CorpusUsage.from_dict(
        {"train": {"used": 3, "left_out": {"silent": 1}, "first_left_out": {"silent": "a"}}}
    )
    assert CorpusUsage.from_dict(usage.as_dict()) == usage
    assert usage.lines()[0] == "training: 3 utterances used; left out: 1 silent (first: a)"


def test_what_reading_a_manifest_says_is_kept_with_the_counts(tmp_path):
    data = corpus(tmp_path, {}, good=2)
    path = tmp_path / "manifest.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([first.replace('{"', '{"split": "training", "', 1), *rest]))
    with said_of_manifests() as said:
        data.utterances()
    assert len(said) == 1
    assert "training" in said[0]


def test_counts_are_kept_until_a_recording_is_written_again(tmp_path):
    data, looked = faulty(tmp_path, good=20), []
    manifest = unexported_task(export_config(data, TASK, "task")).manifest

    def look() -> CorpusUsage:
        return kept_usage(data, 0, manifest, tmp_path / "usage", looked.append)

    first = look()
    assert (first.train.used, len(looked)) == (20, 1)
    assert (look(), len(looked)) == (first, 1)
    soundfile.write(tmp_path / "nan.wav", noise(0.5), RATE, subtype="FLOAT")
    assert look().train.used == 21


def test_what_was_not_chosen_is_counted(tmp_path):
    data = corpus(tmp_path, {}, good=6)
    lines = data.manifest.read_text().splitlines()
    other = [{**json.loads(line), "kind": "sentence"} for line in lines[:2]]
    chosen = [{**json.loads(line), "kind": "word"} for line in lines[2:]]
    data.manifest.write_text("\n".join(json.dumps(line) for line in (*other, *chosen)))
    clients = SpeechCorpus(manifest=data.manifest, kinds=("word",)).clients()
    (left,) = clients.not_chosen().left_out.values()
    assert (left.count, left.first) == (2, f"{data.manifest}:1")


def test_a_phone_is_given_what_can_be_read(tmp_path):
    data = corpus(tmp_path, {"damaged.wav": (noise(0.5), "no")}, good=3)
    (tmp_path / "damaged.wav").write_bytes(b"no sound at all")
    phones = set_up_phones(data.clients().phones, FleetConfig(), tmp_path / "phones", seed=0)
    (phone,) = phones
    assert phone.store.count(Split.TRAIN) == 3

"""The Kotlin phone as a process: signals, its folder, conditions that change, and the files that it
shares with the Python phone."""

from __future__ import annotations

import io
import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fedvoice.data.audio import read_waveform
from fedvoice.device_runtime.store import ExampleStore, NewExample, Source, Split
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import FeatureSettings, TaskPackage
from fedvoice.server.app import AggregationServer
from fedvoice.server.config import ServerConfig
from tests.android.jvm import ask, needs_phone
from tests.android.support import END_SECS, finished, log_lines, run_phone, started

pytestmark = [pytest.mark.slow, needs_phone]
LONG = TrainingPlan(batch_size=2, local_epochs=400, client_rate=0.01, seed=1)


@pytest.fixture
def address(task: TaskPackage, tmp_path: Path) -> Iterator[str]:
    """A server whose only round takes a phone some seconds."""
    config = ServerConfig.model_validate(
        {
            "bind": "127.0.0.1:0",
            "insecure": True,
            "rounds": 1,
            "cohort_size": 1,
            "retry": {"least_secs": 0.01, "most_secs": 0.05},
            "plan": LONG.model_dump(),
        }
    )
    server = AggregationServer(config, task, tmp_path / "store")
    yield server.start()
    server.stop(grace_secs=0.2)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + END_SECS
    while not path.is_file():
        assert time.monotonic() < deadline, f"no {path.name}"
        time.sleep(0.002)


def test_sigterm_keeps_the_checkpoint_and_one_process_has_the_folder(
    address: str, manifest: Path, tmp_path: Path
) -> None:
    state = tmp_path / "phone"
    command = ["run", "--server", address, "--state", state, "--data", manifest]
    with started(*command, "--checkpoint-secs", 0) as process:
        wait_for(state / "checkpoint")
        code, log = run_phone(*command)
        assert code == 2
        assert "exists" in log
        process.send_signal(signal.SIGTERM)
        code, log = finished(process)
    assert code == 128 + signal.SIGTERM
    assert "the same command resumes" in log
    assert (state / "checkpoint").is_file()
    code, log = run_phone(*command)
    assert code == 0, log
    assert "trained; round 1" in log
    said = re.compile(r"\b(yes|no)\b(?!-)")
    assert not any(said.search(line) for line in log_lines(log)), "a word of what was said"


def test_a_phone_unplugged_in_mid_epoch_goes_on_when_it_is_plugged_in(
    address: str, manifest: Path, tmp_path: Path
) -> None:
    conditions, state = tmp_path / "conditions.json", tmp_path / "phone"

    def say(**facts: object) -> None:
        draft = conditions.with_suffix(".new")
        draft.write_text(json.dumps(facts))
        draft.replace(conditions)

    say(charging=True)
    command = ["run", "--server", address, "--state", state, "--data", manifest]
    command += ["--conditions", conditions, "--checkpoint-secs", 0]
    command += ["--grace-secs", 0, "--recheck-secs", 0.1]
    with started(*command) as process:
        wait_for(state / "checkpoint")
        say(charging=False)
        assert process.stderr is not None
        for line in process.stderr:
            if "not-ready; not charging" in line:
                break
            assert "trained" not in line
        say(charging=True)
        code, log = finished(process)
    assert code == 0, log
    assert "trained; round 1" in log


def test_python_and_kotlin_open_each_others_example_stores(tmp_path: Path) -> None:
    wav = io.BytesIO()
    soundfile.write(wav, np.arange(900) / 1000, 16000, format="WAV", subtype="PCM_16")
    path = tmp_path / "examples.sqlite"
    store = ExampleStore(path)
    ids = store.add_all(
        NewExample(wav.getvalue(), text, Source.PROMPT) for text in ("one  Two", "drei")
    )
    (tmp_path / "new.wav").write_bytes(wav.getvalue())
    question = {"kind": "store", "id": "s", "path": str(path), "wav": str(tmp_path / "new.wav")}
    answers = ask(tmp_path / "answers", [question])
    facts = answers.facts["s"]
    assert facts["texts"] == ["one Two", "drei"]
    assert facts["samples"] == [900, 900]
    assert facts["sources"] == ["prompt", "prompt"]
    assert facts["held_bytes"] == 2 * len(wav.getvalue())
    assert answers.bytes_of("s", "audio") == wav.getvalue()

    assert [store.rounds_used(i) for i in ids] == [[7], [7]]
    (added,) = store.examples(Split.TEST)
    assert (added.id, added.transcript, added.source) == (
        facts["added"],
        "Quite NEW",
        Source.CORRECTION,
    )
    assert store.audio(added) == wav.getvalue()
    assert abs(added.added_secs - time.time()) < 600


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_wav_is_read_to_the_bit_as_in_python(recordings, subtype: str, channels: int) -> None:
    files, answers = recordings
    name = f"{subtype}-{channels}"
    wanted = read_waveform(files[name], FeatureSettings(), name)
    assert answers.facts[name] == {"sample_rate": 16000, "samples": wanted.size}
    np.testing.assert_array_equal(answers.floats(name, "waveform"), wanted)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp("wav")
    files = {}
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"):
        for channels in (1, 2, 3):
            sound = np.random.default_rng(channels).uniform(-1, 1, size=(5000, channels))
            path = directory / f"{subtype}-{channels}.wav"
            form = "WAVEX" if channels == 3 else "WAV"
            soundfile.write(path, sound, 16000, subtype=subtype, format=form)
            files[path.stem] = path
    questions = [{"kind": "recording", "id": n, "path": str(p)} for n, p in files.items()]
    return files, ask(directory / "answers", questions)

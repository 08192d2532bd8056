"""`fedvoice device`: what a person meets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fedvoice.device_runtime.cli import add_manifest, check_address
from fedvoice.device_runtime.files import hold_phone
from fedvoice.device_runtime.store import ExampleStore, Split
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.utterances import Utterance, write_manifest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    utterances = []
    for i, split in enumerate(("train", "train", "test")):
        path = tmp_path / "corpus" / f"{i}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.zeros(800), 16000)
        utterances.append(Utterance(path, "yes", 0.05, "me", split))
    write_manifest(tmp_path / "corpus" / "manifest.jsonl", utterances)
    return tmp_path / "corpus"


def test_a_manifest_is_added_once(tmp_path: Path, corpus: Path) -> None:
    store = ExampleStore(tmp_path / "s")
    assert add_manifest(store, corpus) == 3
    assert add_manifest(store, corpus / "manifest.jsonl") == 0
    assert (store.count(Split.TRAIN), store.count(Split.TEST)) == (2, 1)


def test_a_phone_takes_one_speaker_of_a_manifest(tmp_path: Path, corpus: Path) -> None:
    store = ExampleStore(tmp_path / "s")
    assert add_manifest(store, corpus, "me") == 3
    with pytest.raises(FedvoiceError, match="one of me") as caught:
        add_manifest(store, corpus, "you")
    assert caught.value.code is ErrorCode.BAD_MANIFEST


@pytest.mark.parametrize("address", ["", "localhost", "localhost:", ":80", "a:http", "a:99999"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(FedvoiceError) as caught:
        check_address(address)
    assert caught.value.code is ErrorCode.BAD_CONFIG


def test_no_server_ends_with_the_way_out(tmp_path: Path, corpus: Path) -> None:
    command = [sys.executable, "-m", "fedvoice", "device", "--server", "127.0.0.1:1", "--once"]
    done = subprocess.run(
        [*command, "--state", str(tmp_path / "state"), "--data", str(corpus)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "server-unreachable" in done.stderr
    assert "fedvoice serve" in done.stderr
    assert "2 examples to train on, 1 to test on" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_process_a_phone(tmp_path: Path) -> None:
    lock = hold_phone(tmp_path)
    with pytest.raises(FedvoiceError, match="--state") as caught:
        hold_phone(tmp_path)
    assert caught.value.code is ErrorCode.EXISTS
    lock.close()
    hold_phone(tmp_path).close()


def test_ctrl_c_ends_quietly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fedvoice", "device", "--server", "127.0.0.1:1"]
    with subprocess.Popen(
        [*command, "--state", str(tmp_path / "state")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "failed" in line:
                os.kill(process.pid, signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in rest

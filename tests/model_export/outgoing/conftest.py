"""Recognisers of a few words of synthetic voices, trained for some seconds in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fedvoice.data.synthetic import SyntheticCorpusConfig, build_synthetic_corpus
from fedvoice.model_export.batch import TensorBatch
from fedvoice.model_export.config import parse_config
from fedvoice.model_export.fresh import flat_weights, new_model, unexported_manifest
from fedvoice.model_export.outgoing.speech import read_speech
from fedvoice.model_export.outgoing.trained import Trained, read_trained
from fedvoice.protocol.task import MANIFEST_FILE, WEIGHTS_FILE, save_weights
from tests.shared import once

WORDS = ("yes", "no", "seven", "four")
MODELS: dict[str, dict[str, Any]] = {
    "rnnt": {
        "kind": "rnnt",
        "encoder": {"layers": 1, "hidden_size": 24, "bidirectional": True},
        "embedding_size": 8,
        "predictor_size": 16,
        "joint_size": 24,
    },
    "ctc": {"kind": "ctc", "encoder": {"layers": 1, "hidden_size": 32}},
    "module": {"kind": "tests.model_export.outgoing.brought:Brought", "hidden": 32},
}


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of synthetic voices."""
    config = SyntheticCorpusConfig(
        voices=6, train_utterances=12, test_utterances=4, words=WORDS, max_words=2
    )

    def make(folder: Path) -> None:
        build_synthetic_corpus(folder, config)

    return once(tmp_path_factory, "released-speech", make) / "manifest.jsonl"


@pytest.fixture(scope="session", params=list(MODELS))
def run(request: pytest.FixtureRequest, speech: Path, tmp_path_factory: Any) -> Path:
    """A folder as `fedvoice.simulate` leaves it: task.json and trained weights."""

    def make(folder: Path) -> None:
        task = {
            "name": request.param,
            "model": MODELS[request.param],
            "features": {"mel_bins": 24, "stack": 4, "max_secs": 3.0},
            "vocabulary": {"kind": "word", "tokens": list(WORDS)},
            "buckets": [{"frames": 76, "labels": 2, "batch": 2}],
        }
        config = parse_config(task, "test")
        manifest = unexported_manifest(config)
        model = new_model(config, manifest.vocabulary.size)
        train(Trained(manifest, model, flat_weights(model, manifest.parameters)), speech)
        folder.mkdir()
        (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
        flat = flat_weights(model, manifest.parameters)
        save_weights(folder / WEIGHTS_FILE, flat, manifest.parameters)

    return once(tmp_path_factory, f"released-{request.param}", make)


@pytest.fixture
def trained(run: Path) -> Trained:
    """The run's model, read back."""
    return read_trained(run)


def train(
    made: Trained, speech: Path, *, split: str = "train", most: int = 200, steps: int = 60
) -> None:
    """Full batches and Adam: enough for transcripts that are not empty."""
    torch.set_num_threads(1)
    heard, _ = read_speech(speech, made.manifest, split=split, most=most)
    longest = max(one.features.shape[1] for one in heard)
    pad = torch.nn.functional.pad
    rows = [pad(one.features[0], (0, 0, 0, longest - one.features.shape[1])) for one in heard]
    ids = [made.manifest.vocabulary.encode(one.text) for one in heard]
    batch = TensorBatch(
        torch.stack(rows),
        torch.tensor([row + [0] * (max(map(len, ids)) - len(row)) for row in ids]),
        torch.cat([one.lengths for one in heard]),
        torch.tensor([len(row) for row in ids]),
        torch.full((len(rows),), 1 / len(rows)),
    )
    optimiser = torch.optim.Adam(made.model.parameters(), 0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        (made.model.nll(batch) * batch.example_weights).sum().backward()
        optimiser.step()

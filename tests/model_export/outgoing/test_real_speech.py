"""sherpa-onnx hears people's speech as our own decoder does, though its features are others.

A model learns some recordings of the words corpus by heart, in seconds; how well trained models
agree on speakers that they never heard is measured in docs/seeds-and-releases.md.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedvoice.model_export.config import parse_config
from fedvoice.model_export.fresh import flat_weights, new_model, unexported_manifest
from fedvoice.model_export.outgoing.sherpa import SherpaRecogniser, write_sherpa
from fedvoice.model_export.outgoing.speech import read_speech, word_error_rate
from fedvoice.model_export.outgoing.trained import Trained
from tests.model_export.outgoing.conftest import MODELS, train
from tests.test_real_speech import MANIFEST, needs_speech

pytestmark = pytest.mark.slow
UTTERANCES = 48
STEPS = {"rnnt": 150, "ctc": 500}


def words_of_some(path: Path) -> Path:
    """A manifest of single words of many speakers."""
    rows = [json.loads(line) for line in MANIFEST.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["kind"] == "isolated" and row["split"] == "train"]
    chosen = rows[:: len(rows) // UTTERANCES][:UTTERANCES]
    for row in chosen:
        row["audio_filepath"] = str(MANIFEST.parent / row["audio_filepath"])
    path.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    return path


@needs_speech
@pytest.mark.parametrize("kind", ["rnnt", "ctc"])
def test_sherpa_onnx_says_the_same_of_peoples_speech(kind: str, tmp_path: Path) -> None:
    task = {
        "name": kind,
        "model": MODELS[kind],
        "features": {"stack": 4, "max_secs": 2.0},
        "vocabulary": {"kind": "word", "manifest": MANIFEST},
        "buckets": [{"frames": 26, "labels": 1, "batch": 2}],
    }
    config = parse_config(task, "test")
    manifest = unexported_manifest(config)
    model = new_model(config, manifest.vocabulary.size)
    made = Trained(manifest, model, flat_weights(model, manifest.parameters))
    speech = words_of_some(tmp_path / "speech.jsonl")
    train(made, speech, steps=STEPS[kind])
    heard, _ = read_speech(speech, manifest)
    assert len(heard) == UTTERANCES
    found = [model.greedy(one.features, one.lengths)[0].tokens for one in heard]
    assert word_error_rate(heard, found, manifest) < 15
    write_sherpa(made, tmp_path)
    recogniser = SherpaRecogniser(tmp_path, manifest.features.sample_rate)
    said = [recogniser.transcribe(one.waveform) for one in heard]
    wanted = [manifest.vocabulary.decode(tokens) for tokens in found]
    same = sum(a == b for a, b in zip(said, wanted, strict=True))
    assert same >= 0.9 * UTTERANCES, list(zip(said, wanted, strict=True))

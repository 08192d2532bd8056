"""Law 9 on people's speech: the phone's engine and eager PyTorch, from sound files to the update.

Needs the words corpus: 40 speakers, 16 kHz, NeMo-style manifest. Point FEDVOICE_SPEECH at the
folder that holds `words/manifest.jsonl`; by default `shared/data` beside the checkout.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from fedvoice.data.speakers import SpeechPartitionSettings, partition
from fedvoice.device_runtime.evaluation import evaluate
from fedvoice.device_runtime.examples import FeatureCache, LocalExamples
from fedvoice.device_runtime.store import ExampleStore, NewExample, Split
from fedvoice.device_runtime.trainer import train
from fedvoice.model_export.config import parse_config
from fedvoice.model_export.package import export_task
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.utterances import read_manifest
from fedvoice.simulation.evaluation import load_engine

pytestmark = pytest.mark.slow

SPEECH = Path(
    os.environ.get("FEDVOICE_SPEECH", Path(__file__).resolve().parents[2] / "shared" / "data")
)
MANIFEST = SPEECH / "words" / "manifest.jsonl"
needs_speech = pytest.mark.skipif(
    not MANIFEST.is_file(), reason=f"no {MANIFEST}: set FEDVOICE_SPEECH to try real speech"
)

PLAN = TrainingPlan(
    local_epochs=1,
    batch_size=8,
    data_limit=20,
    client_rate=0.5,
    client_momentum=0.5,
    clip_norm=3.0,
    fvn_std=0.02,
    spec_augment={"time_masks": 1, "time_mask_frames": 10},
    seed=7,
)
MODELS = {
    "rnnt": {
        "kind": "rnnt",
        "encoder": {"layers": 1, "hidden_size": 32, "bidirectional": True},
        "embedding_size": 16,
        "predictor_size": 32,
        "joint_size": 32,
    },
    "ctc": {"kind": "ctc", "encoder": {"layers": 1, "hidden_size": 32}},
}


@needs_speech
@pytest.mark.parametrize("kind", MODELS)
def test_law_9_one_phones_speech_gives_the_same_update_on_both_engines(kind, tmp_path):
    task = {
        "name": f"words-{kind}",
        "model": MODELS[kind],
        "features": {"stack": 4 if kind == "ctc" else 8, "max_secs": 10.0},
        "vocabulary": {"kind": "word", "manifest": MANIFEST},
        "buckets": [{"frames": 30, "labels": 1}, {"frames": 210, "labels": 7}],
    }
    package = export_task(parse_config(task, "test"), tmp_path / "task").package
    phone = partition(read_manifest(MANIFEST), SpeechPartitionSettings(), seed=0)[0]
    store = ExampleStore(tmp_path / "examples.sqlite")
    for split, own in ((Split.TRAIN, phone.train), (Split.TEST, phone.test)):
        store.add_all(NewExample(u.audio_path, u.text, split=split) for u in own)

    updates, errors = {}, {}
    for name in ("executorch", "torch"):
        engine = load_engine(name, package, threads=1)
        examples = LocalExamples(engine, store, store.examples(Split.TRAIN), FeatureCache())
        assert not examples.skipped
        result = train(
            engine, examples, PLAN, package.weights(), client_id=phone.client_id, round_number=3
        )
        assert result.statistics.examples == 20
        assert result.statistics.steps >= 3
        updates[name] = result.delta
        heard = LocalExamples(engine, store, store.examples(Split.TEST), FeatureCache())
        counts = evaluate(engine, heard, package.weights() + result.delta)
        errors[name] = (counts.word_errors, counts.words, counts.utterances)
    difference = np.linalg.norm(updates["executorch"] - updates["torch"])
    assert difference <= 1e-4 * np.linalg.norm(updates["torch"])
    assert errors["executorch"] == errors["torch"]

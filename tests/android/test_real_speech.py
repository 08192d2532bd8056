"""Law 9 on people's speech: the Kotlin phone and the Python phone, from waveforms to the update.

The words corpus is that of `tests/test_real_speech.py`.
"""

from pathlib import Path

import numpy as np
import pytest

from fedvoice.data.audio import read_waveform
from fedvoice.data.speakers import SpeechPartitionSettings, partition
from fedvoice.device_runtime.evaluation import evaluate
from fedvoice.device_runtime.examples import FeatureCache, LocalExamples
from fedvoice.device_runtime.store import ExampleStore, NewExample, Split
from fedvoice.device_runtime.trainer import train
from fedvoice.model_export.config import parse_config
from fedvoice.model_export.package import export_task
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.utterances import read_manifest
from fedvoice.simulation.evaluation import load_engine
from tests.android.jvm import ask, needs_phone, training_job
from tests.test_real_speech import MANIFEST, MODELS, PLAN, needs_speech

pytestmark = [pytest.mark.slow, needs_phone, needs_speech]


def test_law_9_one_phones_speech_gives_the_same_update_in_kotlin(tmp_path: Path) -> None:
    task = {
        "name": "words-rnnt",
        "model": MODELS["rnnt"],
        "features": {"max_secs": 10.0},
        "vocabulary": {"kind": "word", "manifest": MANIFEST},
        "buckets": [{"frames": 30, "labels": 1}, {"frames": 210, "labels": 7}],
    }
    package = export_task(parse_config(task, "test"), tmp_path / "task").package
    settings = package.manifest.features
    phone = partition(read_manifest(MANIFEST), SpeechPartitionSettings(), seed=0)[0]
    store = ExampleStore(tmp_path / "examples.sqlite")
    store.add_all(NewExample(u.audio_path, u.text, split=Split.TRAIN) for u in phone.train)
    engine = load_engine("executorch", package, threads=1)
    examples = LocalExamples(engine, store, store.examples(Split.TRAIN), FeatureCache())
    assert len(examples) > PLAN.data_limit
    weights = package.weights()
    mine = train(engine, examples, PLAN, weights, client_id=phone.client_id, round_number=3)
    assert mine.delta is not None

    sounds = [
        (read_waveform(store.audio(row), settings, row.where), row.sample_rate, row.transcript)
        for row in examples.rows
    ]
    naming = {"client_id": phone.client_id, "round_number": 3}
    job = training_job(tmp_path / "train", package, PLAN, weights, sounds, **naming)
    learnt = (weights + 20 * mine.delta).astype(np.float32)
    heard = training_job(tmp_path / "hear", package, PLAN, learnt, sounds[:40], **naming)
    answers = ask(
        tmp_path / "answers",
        [
            {"kind": "training", "id": "trained", "job": job},
            {"kind": "recognition", "id": "heard", "job": heard},
        ],
    )
    delta = answers.floats("trained", "delta")
    gap = np.linalg.norm(delta - mine.delta) / np.linalg.norm(mine.delta)
    assert gap <= 1e-4
    theirs = pb.Statistics.FromString(answers.bytes_of("trained", "statistics"))
    assert theirs.examples == mine.statistics.examples == PLAN.data_limit
    assert theirs.steps == mine.statistics.steps

    counts = evaluate(engine, examples[:40], learnt)
    assert counts is not None
    facts = answers.facts["heard"]
    for field in ("word_errors", "words", "char_errors", "chars", "utterances"):
        assert facts[field] == getattr(counts, field), field
    assert any(facts["ids"]), "nothing was said: the comparison would be empty"

"""Speech that comes as features."""

import numpy as np
import pytest

from fedvoice.data.feature_files import FeatureFiles, FeaturesCorpus, read_feature_manifest
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.simulation.populations import build_population
from tests.laboratory.feature_corpus import write_corpus
from tests.laboratory.tiny import tiny_task


def test_utterances_are_known_by_file_and_key_and_dealt_by_speaker(tmp_path):
    manifest = write_corpus(tmp_path, speakers=3, each=10)
    first = read_feature_manifest(manifest)[0]
    assert (first.text, first.speaker, first.duration_secs) == ("GO", "s0", 0.12)
    features = FeatureFiles().get(first.audio_path)
    assert features.shape == (12, 6)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-6)
    rules = FeaturesCorpus(corpus="features", manifest=manifest, holdout_speakers=1)
    phones = rules.clients(seed=0).phones
    # A tenth of each speaker's is test speech; of the held-out speaker, all.
    assert [(len(p.train), len(p.test), p.held_out) for p in phones] == [
        (9, 1, False),
        (9, 1, False),
        (0, 10, True),
    ]


def test_prompts_that_all_speakers_say_are_trained_by_some_and_tested_by_others(tmp_path):
    found = read_feature_manifest(write_corpus(tmp_path, speakers=12, each=10))
    tested = {u.audio_path.name for u in found if u.split == "test"}
    trained = {u.audio_path.name for u in found if u.split == "train"}
    assert tested == trained == {f"u{number}" for number in range(10)}


def test_a_corpus_without_its_files_is_not_a_corpus_without_examples(tmp_path):
    """A phone leaves what it cannot read out; an experiment would learn nothing and not say why."""
    manifest = write_corpus(tmp_path, speakers=1, each=3)
    (tmp_path / "s0.npz").unlink()
    rules = FeaturesCorpus(corpus="features", manifest=manifest)
    population = build_population(rules, tiny_task().manifest, 0)
    with pytest.raises(FedvoiceError, match=r"s0\.npz") as missing:
        population.train("s0")
    assert missing.value.code is ErrorCode.MISSING_AUDIO


def test_a_damaged_line_and_a_missing_array_are_named(tmp_path):
    manifest = write_corpus(tmp_path, speakers=1, each=2)
    with pytest.raises(FedvoiceError, match="u7") as missing:
        FeatureFiles().get(tmp_path / "s0.npz" / "u7")
    assert missing.value.code is ErrorCode.MISSING_AUDIO
    manifest.write_text(manifest.read_text() + '{"key": "u1"}\n')
    with pytest.raises(FedvoiceError, match=r"manifest\.jsonl:3") as damaged:
        read_feature_manifest(manifest)
    assert damaged.value.code is ErrorCode.BAD_MANIFEST

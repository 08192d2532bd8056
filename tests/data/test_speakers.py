"""Partitioning a corpus among phones: no utterance is lost, and held-out speakers never train."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvoice.data.buckets import fit_buckets
from fedvoice.data.speakers import Partition, SpeechPartitionSettings, held_out_speakers, partition
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.task import FeatureSettings
from fedvoice.protocol.utterances import Utterance
from fedvoice.protocol.vocabulary import Vocabulary


def corpus(speakers, each=4):
    return [
        Utterance(
            Path(f"/{s}/{i}.wav"), "one", 1.0, f"s{s:02d}", "test" if i == each - 1 else "train"
        )
        for s in range(speakers)
        for i in range(each)
    ]


def rules(how, holdout=0, **more):
    return SpeechPartitionSettings(partition=how, holdout_speakers=holdout, **more)


@given(st.integers(2, 30), st.data(), st.sampled_from(Partition), st.integers(0, 5))
def test_no_utterance_is_lost_doubled_or_leaked_from_held_out_speakers(speakers, data, how, seed):
    holdout = data.draw(st.integers(0, speakers - 1))
    utterances = corpus(speakers)
    phones = partition(
        utterances, SpeechPartitionSettings(partition=how, holdout_speakers=holdout), seed=seed
    )
    held = {p.client_id for p in phones if p.held_out}
    assert len(held) == holdout
    assert Counter(u for p in phones for u in p.train + p.test) == Counter(utterances)
    trained = [u for p in phones for u in p.train]
    assert not {u.speaker for u in trained} & held
    assert all(u.split == "train" for u in trained)


def test_iid_keeps_the_sizes_and_mixes_the_speakers():
    speakers = partition(corpus(10), rules(Partition.SPEAKER, 0), seed=0)
    shuffled = partition(corpus(10), rules(Partition.IID, 0), seed=0)
    assert [len(p.train) for p in shuffled] == [len(p.train) for p in speakers]
    assert max(len({u.speaker for u in p.train}) for p in shuffled) > 1
    assert shuffled == partition(corpus(10), rules(Partition.IID, 0), seed=0)
    assert shuffled != partition(corpus(10), rules(Partition.IID, 0), seed=1)


def test_eight_of_forty_held_out_are_every_fifth():
    speakers = [f"s{i:02d}" for i in range(40)]
    assert held_out_speakers(speakers, 8) == {speakers[i] for i in range(4, 40, 5)}


def test_all_held_out_or_no_speaker_is_refused():
    with pytest.raises(FedvoiceError, match="3 of 3 speakers"):
        partition(corpus(3), rules(Partition.SPEAKER, 3), seed=0)
    with pytest.raises(FedvoiceError, match="speakers"):
        partition(corpus(3), rules(Partition.SPEAKER, 3, development=True), seed=0)
    nameless = [Utterance(Path("/a.wav"), "one", 1.0, "")]
    with pytest.raises(FedvoiceError, match="speaker for every utterance"):
        partition(nameless, rules(Partition.SPEAKER, 0), seed=0)


@given(st.lists(st.floats(0.1, 9), min_size=1, max_size=40), st.integers(1, 3))
def test_every_utterance_fits_a_fitted_bucket(durations, count):
    settings, vocabulary = FeatureSettings(), Vocabulary.from_words(["one"])
    utterances = [
        Utterance(Path("/a.wav"), " ".join(["one"] * (1 + int(d))), d, "s") for d in durations
    ]
    buckets = fit_buckets(utterances, settings, vocabulary, count=count)
    assert [b["frames"] for b in buckets] == sorted({b["frames"] for b in buckets})
    assert len(buckets) <= count
    for utterance in utterances:
        samples = round(utterance.duration_secs * settings.sample_rate)
        frames = settings.stacked_frames(settings.frames(samples))
        labels = len(utterance.text.split())
        assert any(frames <= b["frames"] and labels <= b["labels"] for b in buckets)


def test_sorted_by_word_a_phone_says_few_words():
    utterances = [
        Utterance(Path(f"/{s}/{word}.wav"), word, 1.0, f"s{s}") for s in range(4) for word in "abcd"
    ]
    phones = partition(utterances, rules(Partition.WORD), seed=0)
    assert [{u.text for u in p.train} for p in phones] == [{"a"}, {"b"}, {"c"}, {"d"}]
    assert [p.client_id for p in phones] == ["client000", "client001", "client002", "client003"]
    control = partition(utterances, rules(Partition.IID, clients=4), seed=0)
    assert [len(p.train) for p in control] == [len(p.train) for p in phones]
    assert max(len({u.text for u in p.train}) for p in control) > 1


def test_dealt_anew_every_phone_still_has_test_speech_to_be_judged_by():
    phones = partition(corpus(10), rules(Partition.SHARDS, 2, clients=4), seed=0)
    training = [p for p in phones if not p.held_out]
    assert len(training) == 4
    assert [len(p.test) for p in training] == [2, 2, 2, 2]  # one of each of eight speakers
    assert sum(p.held_out for p in phones) == 2


def test_a_development_split_shows_nothing_of_what_is_tested_later():
    utterances = corpus(10, each=12)
    tested_later = [
        u for p in partition(utterances, rules(Partition.SPEAKER, 2), seed=0) for u in p.test
    ]
    phones = partition(utterances, rules(Partition.SPEAKER, 2, development=True), seed=0)
    seen = {u.audio_path for p in phones for u in p.train + p.test}
    assert not seen & {u.audio_path for u in tested_later}
    # Of the eight speakers two are held out once more; of the others' eleven training utterances
    # a fifth, two, are kept back, the same ones for every seed of a run.
    assert [len(p.test) for p in phones if not p.held_out] == [2] * 6
    assert phones == partition(utterances, rules(Partition.SPEAKER, 2, development=True), seed=1)


def test_more_phones_than_utterances_or_clients_by_speaker_are_refused():
    with pytest.raises(FedvoiceError, match="99 clients for 30 training"):
        partition(corpus(10), rules(Partition.IID, clients=99), seed=0)
    with pytest.raises(FedvoiceError, match="of 1, none for training"):
        partition(corpus(1, each=1), rules(Partition.SPEAKER), seed=0)
    with pytest.raises(FedvoiceError, match="a client a speaker"):
        partition(corpus(10), rules(Partition.SPEAKER, clients=5), seed=0)

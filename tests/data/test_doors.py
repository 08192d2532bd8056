"""A corpus and a partition of one's own come in by name, like those that are built in."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from pydantic import ValidationError

from fedvoice.data.dataset import DATASETS, Dataset, dataset_of
from fedvoice.data.memory import MappingDataset
from fedvoice.data.mnist import ImagesCorpus
from fedvoice.data.partitioning import PARTITIONS, Labels, apply_partition
from fedvoice.data.speakers import SpeechPartitionSettings, partition
from fedvoice.data.speech import SpeechCorpus
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from tests.data.my_dealing import Ramps, alternating
from tests.data.test_speakers import corpus

MINE = "tests.data.my_dealing"
ALTERNATING = {"partition": "alternating", "clients": 3}


def test_every_dataset_that_is_built_in_keeps_the_contract(tmp_path):
    where = {"manifest": tmp_path / "m.jsonl", "folder": tmp_path}
    for name in DATASETS.names():
        wanted = "folder" if name in ("mnist", "shakespeare") else "manifest"
        dataset = dataset_of({"corpus": name, wanted: where[wanted]})
        assert isinstance(dataset, Dataset)
        assert type(dataset) is DATASETS.get(name)


def test_speech_is_the_corpus_that_nobody_names(tmp_path):
    assert isinstance(dataset_of({"manifest": tmp_path / "m.jsonl"}), SpeechCorpus)


@pytest.mark.parametrize("how", [f"{MINE}:alternating", "alternating"])
def test_a_partition_of_ones_own_is_named_like_the_built_in_ones(how):
    rules = SpeechPartitionSettings(partition=how, clients=3, partition_options={"first": 1})
    phones = partition(corpus(4, each=4), rules, seed=0)
    assert [phone.client_id for phone in phones] == ["client000", "client001", "client002"]
    assert [len(phone.train) for phone in phones] == [4, 4, 3]  # of twelve, from the second on


def test_a_function_does_as_well():
    parts = apply_partition(
        alternating, Labels(["a"] * 4, np.zeros(4, np.int64)), clients=2, seed=0
    )
    assert [own.tolist() for own in parts] == [[0, 2], [1, 3]]


def test_results_know_a_partition_by_what_it_is_and_not_by_how_it_was_named(tmp_path):
    found = [
        SpeechCorpus(manifest=tmp_path / "m.jsonl", clients=3, partition=name).identity()
        for name in ("alternating", f"{MINE}:alternating")
    ]
    assert found[0] == found[1]
    assert found[0]["partition"] == f"{MINE}:alternating"


def test_settings_travel_to_processes_that_know_no_decorator():
    there = pickle.loads(pickle.dumps(SpeechPartitionSettings(**ALTERNATING)))
    assert there.partition == f"{MINE}:alternating"
    assert there.client_count == 3


def test_what_is_defined_where_no_other_process_looks_is_refused_there_by_name():
    PARTITIONS.register("passing")(lambda labels, *, clients, seed, options: [])
    rules = SpeechPartitionSettings(partition="passing")
    with pytest.raises(FedvoiceError, match="passing") as caught:
        pickle.dumps(rules)
    assert caught.value.code is ErrorCode.BAD_PLUGIN


def test_a_partition_that_deals_what_is_not_there_names_itself():
    with pytest.raises(FedvoiceError, match=f"{MINE}:beyond") as caught:
        partition(corpus(4), SpeechPartitionSettings(partition=f"{MINE}:beyond"), seed=0)
    assert caught.value.code is ErrorCode.BAD_PLUGIN


def test_an_unknown_name_is_told_the_known_ones(tmp_path):
    with pytest.raises(ValidationError, match=r"known are .*dirichlet, iid, .*speaker"):
        ImagesCorpus(corpus="mnist", folder=tmp_path, partition="random")
    with pytest.raises(ValueError, match=r"'mnits': known are features, mnist, shakespeare"):
        dataset_of({"corpus": "mnits"})
    with pytest.raises(FedvoiceError, match="Nowhere"):
        dataset_of({"corpus": f"{MINE}:Nowhere"})


def test_a_corpus_of_ones_own_is_settings_in_a_table():
    made = dataset_of({"corpus": f"{MINE}:Ramps", "speakers": 3})
    assert isinstance(made, Ramps)
    assert made.clients().client_ids == ["p0", "p1", "p2"]
    assert made.identity() == {"corpus": f"{MINE}:Ramps", "speakers": 3}
    with pytest.raises(ValidationError, match="voices"):
        dataset_of({"corpus": f"{MINE}:Ramps", "voices": 3})


def test_a_corpus_in_memory_is_known_by_its_content():
    rise = np.linspace(-1, 1, 60, dtype=np.float32).reshape(10, 6)
    one, same = (MappingDataset({"a": [(rise, "up")]}) for _ in range(2))
    other = MappingDataset({"a": [(rise, "down")]})
    elsewhere = MappingDataset({"b": [(rise, "up")]})
    assert one.identity() == same.identity()
    assert len({str(d.identity()) for d in (one, other, elsewhere)}) == 3


@pytest.mark.parametrize(
    "example", [(np.zeros((2, 2, 2)), "a"), (np.zeros(0), "a"), (np.ones(4), [0]), np.ones(4)]
)
def test_what_is_no_example_is_named_by_client_and_place(example):
    with pytest.raises(FedvoiceError, match="train example 1 of client a"):
        MappingDataset({"a": [(np.ones(4), "fine"), example]})


def test_a_corpus_in_memory_is_dealt_anew_on_request():
    pairs = [(np.full(4, i), "ab"[i % 2]) for i in range(6)]
    dataset = MappingDataset({"x": pairs[:3], "y": pairs[3:]}, held_out={"z": pairs[:1]})
    anew = dataset.clients("word")
    assert anew.client_ids == ["client000", "client001"]
    assert [[own.text for own in anew.train(who)] for who in anew.client_ids] == [
        ["a", "a", "a"],
        ["b", "b", "b"],
    ]
    assert list(anew.tests) == ["heldout_wer"]

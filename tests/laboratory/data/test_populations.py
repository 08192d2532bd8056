"""The paper's corpora as clients: shuffled, in shards of one digit, by speaking role."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from fedvoice.data.mnist import ImagesCorpus
from fedvoice.data.shakespeare import CHARACTERS, RolesCorpus
from fedvoice.protocol.task import TaskManifest
from fedvoice.simulation.clients import ClientData
from fedvoice.simulation.populations import build_population, export_config
from fedvoice.simulation.tasks import unexported_task

IMAGES = 40
TASKS = {
    "2nn": {
        "model": {"kind": "2nn", "hidden_size": 2},
        "features": {"mel_bins": 28, "stack": 28},
        "vocabulary": {"kind": "word", "as_given": True, "tokens": list("abcdefghij")},
        "buckets": [{"frames": 1, "labels": 1, "batch": 10}],
    },
    "char-lstm": {
        "model": {"kind": "char-lstm", "embedding_size": 2, "hidden_size": 2, "layers": 1},
        "features": {"mel_bins": 1, "stack": 1},
        "vocabulary": {"kind": "character", "as_given": True, "tokens": list(CHARACTERS)},
        "buckets": [{"frames": 3, "labels": 3, "batch": 10}],
    },
}


def manifest_of(corpus: ImagesCorpus | RolesCorpus, kind: str) -> TaskManifest:
    return unexported_task(export_config(corpus, TASKS[kind], kind)).manifest


def first_tokens(parts: Iterable[ClientData]) -> list[int]:
    return [int(token) for part in parts for token in part.targets[:, 0]]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty images whose digits go round, 0 to 9 four times; image i is as bright as i."""
    folder = tmp_path_factory.mktemp("images")
    pixels = np.arange(IMAGES, dtype=np.uint8)[:, None].repeat(28 * 28, 1)
    digits = np.arange(IMAGES, dtype=np.uint8) % 10
    for name in ("train", "t10k"):
        head = struct.pack(">4i", 2051, IMAGES, 28, 28)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        head = struct.pack(">2i", 2049, IMAGES)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(head + digits.tobytes())
    return folder


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three roles with 9, 3 and 0 steps to learn: windows of three steps are 3, 1 and none."""
    folder = tmp_path_factory.mktemp("roles")
    texts = {"A": "abcdefghij", "B": "abcd", "silent": "a"}
    lines = [
        json.dumps({"client": name, "train": [text], "test": [text]})
        for name, text in texts.items()
    ]
    (folder / "roles.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder


@pytest.mark.parametrize("partition", ["iid", "shards"])
def test_every_image_has_one_client_and_all_clients_as_many(images: Path, partition: str) -> None:
    corpus = ImagesCorpus(
        corpus="mnist", folder=images, partition=partition, clients=10, test_images=5
    )
    population = build_population(corpus, manifest_of(corpus, "2nn"), seed=0)
    parts = [population.train(client) for client in population.client_ids]
    assert [len(part) for part in parts] == [4] * 10
    brightness = np.concatenate([part.features[:, 0, 0] for part in parts]) * 255
    assert sorted(brightness.round().astype(int).tolist()) == list(range(IMAGES))
    digits_a_client = [len(set(part.targets[:, 0].tolist())) for part in parts]
    # Shards of two images of one digit each, two a client; shuffled images are of more digits.
    assert (max(digits_a_client) <= 2) == (partition == "shards")
    assert first_tokens(population.evaluation["wer"]) == [1, 2, 3, 4, 5]


def test_another_seed_deals_otherwise_and_the_same_one_alike(images: Path) -> None:
    corpus = ImagesCorpus(corpus="mnist", folder=images, clients=10)
    manifest = manifest_of(corpus, "2nn")
    first, again, other = (
        build_population(corpus, manifest, seed).train("client00003").features.tobytes()
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_a_role_is_a_client_with_its_own_windows(roles: Path) -> None:
    corpus = RolesCorpus(corpus="shakespeare", folder=roles, unroll=3)
    population = build_population(corpus, manifest_of(corpus, "char-lstm"), seed=0)
    assert population.client_ids == ["A", "B"]  # the silent one has nothing to learn
    own = population.train("B")
    ids = [CHARACTERS.index(character) + 1 for character in "abcd"]
    assert own.features[0, :, 0].tolist() == ids[:3]
    assert own.targets[0].tolist() == ids[1:]
    assert len(population.train("A")) == 3


def test_the_iid_control_has_as_many_clients_of_equal_size(roles: Path) -> None:
    corpus = RolesCorpus(corpus="shakespeare", folder=roles, unroll=3, partition="iid")
    population = build_population(corpus, manifest_of(corpus, "char-lstm"), seed=0)
    parts = [population.train(client) for client in population.client_ids]
    assert [len(part) for part in parts] == [2, 2]
    # Both roles begin alike: their first windows are one text.
    assert sorted(first_tokens(parts)) == sorted(
        CHARACTERS.index(character) + 1 for character in "behb"
    )


def test_a_test_text_that_is_too_long_is_thinned_evenly(roles: Path) -> None:
    corpus = RolesCorpus(corpus="shakespeare", folder=roles, unroll=3, test_characters=6)
    population = build_population(corpus, manifest_of(corpus, "char-lstm"), seed=0)
    # Twelve steps in four windows, and room for six: every second window.
    firsts = first_tokens(population.evaluation["wer"])
    assert firsts == [CHARACTERS.index(character) + 1 for character in "bh"]

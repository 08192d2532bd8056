"""More clients than images: each draws its own from all, the same ones whenever it is asked."""

import gzip
import struct

import numpy as np
import pytest
from pydantic import ValidationError

from fedvoice.data.mnist import ImagesCorpus
from fedvoice.protocol.random import Purpose, Stream
from fedvoice.simulation.populations import build_population
from tests.laboratory.tiny import tiny_task

IMAGES, CLIENTS, OWN = 7, 100_000, 20


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Seven images, of digits 0 to 6, each grey by its digit."""
    folder = tmp_path_factory.mktemp("images")
    digits = np.arange(IMAGES, dtype=np.uint8)
    pixels = np.broadcast_to(digits[:, None, None], (IMAGES, 28, 28))
    for name in ("train", "t10k"):
        head = struct.pack(">4i", 2051, IMAGES, 28, 28)
        packed = gzip.compress(head + pixels.tobytes())
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(packed)
        labels = struct.pack(">2i", 2049, IMAGES) + digits.tobytes()
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return ImagesCorpus(corpus="mnist", folder=folder, clients=CLIENTS, examples_per_client=OWN)


def test_a_client_draws_its_images_from_its_own_stream(corpus):
    population = build_population(corpus, tiny_task().manifest, seed=3)
    last = population.client_ids[-1]
    stream = Stream(3, last, 0, Purpose.PARTITION)
    wanted = [(int(word) * IMAGES) >> 32 for word in stream.words(OWN)]
    data = population.train(last)
    assert (data.targets[:, 0] - 1).tolist() == wanted
    assert np.rint(data.features[:, 0, 0] * 255).tolist() == wanted
    assert corpus.clients(seed=3).indices(last).tolist() == wanted  # asked again


def test_every_client_has_as_many_and_no_two_need_be_alike(corpus):
    population = corpus.clients(seed=3)
    assert len(population.client_ids) == len(set(population.client_ids)) == CLIENTS
    drawn = {tuple(population.indices(f"client{i:05d}")) for i in range(50)}
    assert len(drawn) == 50
    assert {len(own) for own in drawn} == {OWN}
    assert {i for own in drawn for i in own} == set(range(IMAGES))


def test_shards_are_dealt_and_not_drawn(corpus):
    with pytest.raises(ValidationError, match="examples_per_client wants the partition iid"):
        ImagesCorpus.model_validate({**corpus.model_dump(), "partition": "shards"})

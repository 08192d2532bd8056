"""MNIST's files as they are distributed, and what damaged ones say."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from fedvoice.data.mnist import DIGITS, read_mnist
from fedvoice.data.partitions import shards
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
REAL = Path(os.environ.get("FEDVOICE_SPEECH", SHARED)) / "mnist"


def images_file(pixels: np.ndarray, magic: int = 2051) -> bytes:
    return struct.pack(">4i", magic, *pixels.shape) + pixels.tobytes()


def labels_file(labels: list[int], magic: int = 2049) -> bytes:
    return struct.pack(">2i", magic, len(labels)) + bytes(labels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images to train on, one to test with; half of the files packed."""
    pixels = np.zeros((3, 28, 28), dtype=np.uint8)
    pixels[1, 2, 3] = 255
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(images_file(pixels)))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels_file([0, 9, 4])))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(images_file(pixels[:1]))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(labels_file([7]))
    return tmp_path


def test_an_image_is_a_spectrogram_and_its_digit_a_token(folder: Path) -> None:
    data = read_mnist(folder)
    assert (len(data.train), len(data.test)) == (3, 1)
    example = data.train[1]
    assert example.features.shape == (28, 28)
    assert example.features.dtype == np.float32
    assert example.features[2, 3] == 1.0
    assert example.features.sum() == 1.0
    assert list(example.targets) == [10]
    assert ("<blank>", *DIGITS)[10] == "nine"
    assert list(data.test[0].targets) == [8]


def test_a_client_sees_its_own_images_without_a_copy_of_the_pixels(folder: Path) -> None:
    train = read_mnist(folder).train
    own = train.select(np.array([2, 1]))
    assert [list(example.targets) for example in own] == [[5], [10]]
    assert [list(example.targets) for example in own[1:]] == [[10]]
    assert [list(example.targets) for example in train[:1]] == [[1]]
    assert own.images.pixels is train.pixels


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t10k-labels-idx1-ubyte", labels_file([7, 7]), "2 labels"),
        ("t10k-labels-idx1-ubyte", labels_file([10]), "label 10"),
        ("t10k-labels-idx1-ubyte", labels_file([7], magic=2051), "begin with 00000803"),
        ("t10k-labels-idx1-ubyte", labels_file([7]) + b"?", "2 values"),
        ("t10k-labels-idx1-ubyte", b"\0\0", "2 bytes"),
        ("t10k-images-idx3-ubyte", images_file(np.zeros((1, 2, 2), np.uint8)), r"\(2, 2\)"),
        ("train-images-idx3-ubyte.gz", b"\x1f\x8b damaged", "train-images"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, name: str, content: bytes, said: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(FedvoiceError, match=said) as caught:
        read_mnist(folder)
    assert caught.value.code is ErrorCode.BAD_MANIFEST
    assert name in caught.value.where


def test_a_file_cut_short_in_its_packing_is_named(folder: Path) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FedvoiceError, match="whole gzip file"):
        read_mnist(folder)


def test_a_missing_file_is_not_found(folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FedvoiceError, match="train-labels") as caught:
        read_mnist(folder)
    assert caught.value.code is ErrorCode.NOT_FOUND


@pytest.mark.skipif(not REAL.is_dir(), reason="no real MNIST here")
def test_the_real_images_in_the_papers_two_hundred_shards() -> None:
    data = read_mnist(REAL)
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert np.bincount(data.test.digits).sum() == 10_000
    parts = shards(data.train.digits, 100, 2, seed=0)
    assert {len(part) for part in parts} == {600}
    # A shard of 300 lies within one digit or across a border between two.
    assert max(len(set(data.train.digits[part].tolist())) for part in parts) <= 4

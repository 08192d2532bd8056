"""MNIST as examples: an image is a spectrogram of 28 frames with 28 bins, its digit the target.

The four idx files (Y. LeCun, C. Cortes) are read as they are distributed, gzipped or not. Pixels
stay bytes in arrays that all clients share; an example's floats are made when it is asked for.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from fedvoice.data.dataset import ArrayClients, Corpus
from fedvoice.data.partition_report import describe_partition, describe_sizes
from fedvoice.data.partitioning import (
    Labels,
    PartitionRule,
    PartitionSettings,
    apply_partition,
    numbered,
)
from fedvoice.data.references import PackedExamples, Padded
from fedvoice.protocol.engine import Example, Examples, Int64Array
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.random import Purpose, Stream

SIDE = 28
"""Frames of an image, and bins of a frame."""
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""Token i + 1 of the task stands for digit i."""

UInt8Array = npt.NDArray[np.uint8]
_IMAGES_MAGIC, _LABELS_MAGIC = 2051, 2049


@dataclass(frozen=True)
class Images(Examples):
    """Images with their digits; `images[i]` is an example.

    pixels: uint8 [n, 28, 28]. digits: int64 [n], 0..9.
    """

    pixels: UInt8Array
    digits: Int64Array

    def select(self, indices: Int64Array) -> ChosenImages:
        """The images of one client, int64 [m] indices; shares the pixels."""
        return ChosenImages(self, indices)

    def __len__(self) -> int:
        return len(self.digits)

    def example(self, index: int) -> Example:
        """Features float32 [28, 28] in 0..1, targets [digit + 1]."""
        features = self.pixels[index].astype(np.float32) / np.float32(255)
        return Example(features, [int(self.digits[index]) + 1])


@dataclass(frozen=True)
class ChosenImages(PackedExamples):
    """Some of the images, by their indices int64 [m]."""

    images: Images
    indices: Int64Array

    def __len__(self) -> int:
        return len(self.indices)

    def example(self, index: int) -> Example:
        """As `Images`."""
        return self.images[int(self.indices[index])]

    def packed(self) -> Padded:
        """All examples as floats, not cached: those of all clients would take 190 MB."""
        count = len(self.indices)
        return Padded(
            features=self.images.pixels[self.indices].astype(np.float32) / np.float32(255),
            frames=np.full(count, SIDE, dtype=np.int64),
            targets=(self.images.digits[self.indices] + 1).reshape(count, 1),
            target_counts=np.ones(count, dtype=np.int64),
        )


@dataclass(frozen=True)
class Mnist:
    """60,000 images to train on and 10,000 to test with, in the files' order."""

    train: Images
    test: Images


class ImagesCorpus(PartitionSettings, Corpus):
    """MNIST as a dataset (McMahan et al. 2016, section 3): the four idx files of `folder`, gzipped
    or not. One digit is one word, so the error rate is that of classification."""

    corpus: Literal["mnist"]
    folder: Path
    client_count: int = Field(default=100, ge=1, alias="clients")
    examples_per_client: int = Field(default=0, ge=0)
    """With partition iid: number of images a client, drawn from all images with replacement. 0:
    every image belongs to exactly one client."""
    shards_per_client: int = Field(default=2, ge=1)
    dirichlet_alpha: float = Field(default=0.5, gt=0)
    train_images: int = Field(default=60000, ge=1)
    """Number of training images, the first of the file; fewer for a quick look."""
    test_images: int = Field(default=10000, ge=1)

    @model_validator(mode="after")
    def _drawn_alike(self) -> Self:
        if self.examples_per_client and self.partition != "iid":
            raise ValueError("examples_per_client wants the partition iid")
        return self

    def identity(self) -> dict[str, Any]:
        """See `Dataset.identity`; the folder is not part of it."""
        return {**self.settings({"folder", "partition"}), **self.chosen}

    def clients(self, partition: str | PartitionRule | None = None, seed: int = 0) -> ArrayClients:
        """Partitioned IID, in shards of one digit, or by another partition."""
        mnist = _mnist(self.folder)
        count = min(self.train_images, len(mnist.train))
        tests = mnist.test.select(np.arange(min(self.test_images, len(mnist.test))))
        if self.examples_per_client and partition is None:
            ids = [f"client{i:05d}" for i in range(self.client_count)]
            return ArrayClients(
                mnist.train,
                ids,
                partial(drawn, count=count, wanted=self.examples_per_client, seed=seed),
                {"wer": tests},
                report=lambda: describe_sizes([self.examples_per_client] * self.client_count),
            )
        labels = Labels(mnist.train.digits[:count], np.zeros(count, dtype=np.int64))
        options = {
            "shards_per_client": self.shards_per_client,
            "dirichlet_alpha": self.dirichlet_alpha,
            **self.partition_options,
        }
        rule = partition or self.partition
        parts = apply_partition(rule, labels, clients=self.client_count, seed=seed, options=options)
        indices = numbered(parts, 5)
        return ArrayClients(
            mnist.train,
            [client_id for client_id, own in indices.items() if len(own)],
            indices.__getitem__,
            {"wer": tests},
            report=lambda: describe_partition(list(indices.values()), labels.targets),
        )


def drawn(client_id: str, *, count: int, wanted: int, seed: int) -> Int64Array:
    """Which of `count` images a client has, int64 [wanted]. They are drawn anew each time, the same
    ones, from the client's own stream: a hundred thousand clients take no memory."""
    words = Stream(seed, client_id, 0, Purpose.PARTITION).words(wanted)
    # As `Stream.below`, for all words at once.
    return ((words.astype(np.uint64) * np.uint64(count)) >> np.uint64(32)).astype(np.int64)


@lru_cache(maxsize=1)
def _mnist(folder: Path) -> Mnist:
    return read_mnist(folder)


def read_mnist(folder: Path) -> Mnist:
    """Read the four files of a folder, each as `<name>.gz` or `<name>`.

    Raises:
        FedvoiceError: `not-found` for a missing file; `bad-manifest` for a damaged one, or for
            images and labels that do not belong together.
    """
    return Mnist(_read_set(folder, "train"), _read_set(folder, "t10k"))


def _read_set(folder: Path, name: str) -> Images:
    images_path, pixels = _read_idx(folder / f"{name}-images-idx3-ubyte", _IMAGES_MAGIC)
    labels_path, labels = _read_idx(folder / f"{name}-labels-idx1-ubyte", _LABELS_MAGIC)
    if pixels.shape[1:] != (SIDE, SIDE):
        raise _damaged(images_path, f"images of {pixels.shape[1:]}", f"{SIDE} x {SIDE} pixels")
    if len(pixels) != len(labels):
        raise _damaged(labels_path, f"{len(labels)} labels", f"{len(pixels)}, one an image")
    if labels.max(initial=0) > 9:
        raise _damaged(labels_path, f"label {labels.max()}", "digits 0 to 9")
    return Images(pixels, labels.astype(np.int64))


def _read_idx(path: Path, magic: int) -> tuple[Path, UInt8Array]:
    """An idx file of bytes: magic number, one size a dimension (big-endian), values."""
    path, data = _read_bytes(path)
    header_bytes = 4 * (1 + magic % 256)  # the magic number's last byte counts dimensions
    if len(data) < header_bytes or int.from_bytes(data[:4], "big") != magic:
        got = f"{len(data)} bytes that begin with {data[:4].hex()}"
        raise _damaged(path, got, f"an idx file with magic number {magic:08x}")
    shape = tuple(int(size) for size in np.frombuffer(data[4:header_bytes], dtype=">u4"))
    values = np.frombuffer(data, dtype=np.uint8, offset=header_bytes)
    if values.size != math.prod(shape):
        raise _damaged(path, f"{values.size} values", f"{shape} of them, as its header says")
    return path, values.reshape(shape)


def _read_bytes(path: Path) -> tuple[Path, bytes]:
    packed = path.with_name(f"{path.name}.gz")
    try:
        if not packed.exists():
            return path, path.read_bytes()
        return packed, gzip.decompress(packed.read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(packed, str(error), "a whole gzip file") from error
    except OSError as error:
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=str(packed),
            got=str(error.strerror or error),
            wanted="a file of MNIST, gzipped or not",
            next_step="Put MNIST's four idx files into this folder, or name another folder.",
        ) from error


def _damaged(path: Path, got: str, wanted: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_MANIFEST,
        where=str(path),
        got=got,
        wanted=wanted,
        next_step="The file is damaged or of another data set: fetch it again.",
    )

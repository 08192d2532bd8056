"""MNIST as examples: an image is a spectrogram of 28 frames with 28 bins, its digit the target.

The four idx files (Y. LeCun, C. Cortes) are read as they are distributed, gzipped or not. Pixels
stay bytes in arrays that all clients share; an example's floats are made when it is asked for.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedvoice.protocol.engine import (
    Example,
    Examples,
    Int64Array,
)
from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
)

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
class ChosenImages(Examples):
    """Some of the images, by their indices int64 [m]."""

    images: Images
    indices: Int64Array

    def __len__(self) -> int:
        return len(self.indices)

    def example(self, index: int) -> Example:
        """As `Images`."""
        return self.images[int(self.indices[index])]


@dataclass(frozen=True)
class Mnist:
    """60,000 images to train on and 10,000 to test with, in the files' order."""

    train: Images
    test: Images


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

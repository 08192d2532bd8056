"""Portable randomness: Philox4x32-10 streams that every host draws alike.

Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011).
A stream is named by (plan seed, client, round, purpose); its key is the first 8 bytes of the
sha256 of that name, its counter the number of the block. A resumed client opens the same stream
and draws the same numbers. `docs/protocol.md` is the specification for other languages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

UInt32Array = npt.NDArray[np.uint32]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MASK = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_ROUNDS = 10

TABLE_SIZE = 1 << 20


class Purpose(StrEnum):
    """What a stream's numbers are for: no two uses share a stream."""

    DATA_LIMIT = "data-limit"
    SHUFFLE = "shuffle"
    NOISE = "noise"
    SPEC_AUGMENT = "spec-augment"
    COHORT = "cohort"
    INITIAL_WEIGHTS = "initial-weights"
    RETRY = "retry"
    PARTITION = "partition"
    SPLIT = "split"
    NORMAL_TABLE = "normal-table"
    DRAWS = "draws"
    UNIFORM_TABLE = "uniform-table"


def philox_blocks(key: tuple[int, int], first_block: int, count: int) -> UInt32Array:
    """Blocks `first_block .. first_block + count - 1` of a stream as uint32 [count, 4].

    The counter's low 64 bits are the block's number, the high 64 bits are zero.
    """
    block = np.arange(first_block, first_block + count, dtype=np.uint64)
    zeros = np.zeros(count, dtype=np.uint64)
    return philox_rounds((block & _MASK, block >> _SHIFT, zeros, zeros), key)


def philox_rounds(
    counter: tuple[
        npt.NDArray[np.uint64],
        npt.NDArray[np.uint64],
        npt.NDArray[np.uint64],
        npt.NDArray[np.uint64],
    ],
    key: tuple[int, int],
) -> UInt32Array:
    """The ten rounds of the bijection on counters of four 32-bit words each: uint32 [n, 4]."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0, product1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (product1 >> _SHIFT) ^ c1 ^ np.uint64(k0),
            product1 & _MASK,
            (product0 >> _SHIFT) ^ c3 ^ np.uint64(k1),
            product0 & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


class Stream:
    """Numbers drawn in order from one named Philox stream."""

    def __init__(self, seed: int, client_id: str, round_number: int, purpose: Purpose) -> None:
        name = f"{seed}|{client_id}|{round_number}|{purpose.value}"
        digest = hashlib.sha256(name.encode()).digest()
        self._key = (
            int.from_bytes(digest[0:4], "little"),
            int.from_bytes(digest[4:8], "little"),
        )
        self._block = 0

    def words(self, count: int) -> UInt32Array:
        """The next `count` uint32 words [count]; what is left of the last block is dropped."""
        blocks = -(-count // 4)
        words = philox_blocks(self._key, self._block, blocks).reshape(-1)[:count]
        self._block += blocks
        return words

    def below(self, bound: int) -> int:
        """An integer in [0, bound): the high half of word * bound."""
        return (int(self.words(1)[0]) * bound) >> 32

    def uniform(self) -> float:
        """A float in [0, 1) with 32 random bits."""
        return int(self.words(1)[0]) / 2.0**32

    def uniforms(self, count: int) -> npt.NDArray[np.float32]:
        """Floats in [0, 1) float32 [count]: the high 24 bits of a word each, which float32 holds
        exactly."""
        return (self.words(count) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)

    def permutation(self, count: int) -> list[int]:
        """A permutation of 0..count-1 by Fisher-Yates from the end, one word a swap."""
        order = list(range(count))
        if count < 2:
            return order
        words = self.words(count - 1)
        for word, i in zip(words, range(count - 1, 0, -1), strict=True):
            j = (int(word) * (i + 1)) >> 32
            order[i], order[j] = order[j], order[i]
        return order

    def normals(self, count: int) -> npt.NDArray[np.float32]:
        """Standard normals float32 [count] by Box-Muller in float64 from pairs of words."""
        pairs = -(-count // 2)
        words = self.words(2 * pairs).astype(np.float64).reshape(pairs, 2)
        radius = np.sqrt(-2.0 * np.log((words[:, 0] + 1.0) / 2.0**32))
        angle = 2.0 * np.pi * words[:, 1] / 2.0**32
        out = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return out.reshape(-1)[:count].astype(np.float32)


@lru_cache(maxsize=2)
def normal_table(seed: int) -> npt.NDArray[np.float32]:
    """2^20 standard normals float32, made once a plan seed: making fresh ones costs more than
    a training step does. Read it from a drawn offset, wrapping round (`read_table`)."""
    return _table(Stream(seed, "", 0, Purpose.NORMAL_TABLE).normals)


@lru_cache(maxsize=2)
def uniform_table(seed: int) -> npt.NDArray[np.float32]:
    """2^20 floats in [0, 1) float32, made and read as `normal_table`."""
    return _table(Stream(seed, "", 0, Purpose.UNIFORM_TABLE).uniforms)


def _table(draw: Callable[[int], npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    table = np.empty(TABLE_SIZE, dtype=np.float32)
    # In parts of whole blocks: the same numbers, without 30 MB of intermediate results.
    for part in np.split(table, TABLE_SIZE // 4096):
        part[...] = draw(part.size)
    table.setflags(write=False)
    return table


def read_table(
    table: npt.NDArray[np.float32], offset: int, out: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Fill `out` [P] float32 with table[(offset + i) mod len(table)] and return it."""
    filled, start = 0, offset % table.size
    while filled < out.size:
        take = min(table.size - start, out.size - filled)
        out[filled : filled + take] = table[start : start + take]
        filled, start = filled + take, 0
    return out

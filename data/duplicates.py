"""The same recording twice, or in train and test: by place and size first, by content only where
those are equal. 40 bytes an utterance."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fedvoice.data.audio import AudioFacts
from fedvoice.protocol.engine import Int64Array
from fedvoice.protocol.utterance import Utterance, audio_of
from fedvoice.protocol.utterances import iterate_manifest

_PROBE_BYTES = 4096
_LAP_SECS = 0.05
"""Segments may overlap a little at their ends."""
TWICE = "of the same recording as an earlier one"
TRAIN_AND_TEST = "of the same recording in train and test"


class Recordings:
    """The recordings of a manifest, in its order."""

    def __init__(self) -> None:
        self._lines, self._places, self._sizes = array("q"), array("q"), array("q")
        self._begins, self._ends = array("d"), array("d")
        self._tests = bytearray()

    def add(self, utterance: Utterance, facts: AudioFacts) -> None:
        """Note an utterance whose file was read."""
        audio = audio_of(utterance)
        begin = utterance.offset_secs or 0.0
        self._lines.append(utterance.line)
        self._places.append(hash(audio))
        self._sizes.append(hash((os.stat(audio).st_size, facts.samples, facts.sample_rate)))
        self._begins.append(begin)
        self._ends.append(begin + (utterance.segment_secs or facts.duration_secs))
        self._tests.append(utterance.split == "test")

    def repeated(self, manifest: Path) -> Iterator[tuple[str, str]]:
        """What is repeated, and where the later one stands."""
        if not self._lines:
            return
        places = np.frombuffer(self._places, dtype=np.int64)
        same = dict(self._same_place(places))
        same |= self._same_content(places, manifest, same)
        for later in sorted(same):
            apart = self._tests[later] != self._tests[same[later]]
            what = TRAIN_AND_TEST if apart else TWICE
            where = f"{manifest}:{self._lines[later]} and :{self._lines[same[later]]}"
            yield what, where

    def _same_place(self, places: Int64Array) -> Iterator[tuple[int, int]]:
        """Rows of one file that overlap: the later row, the earlier."""
        begins = np.frombuffer(self._begins)
        ends = np.frombuffer(self._ends)
        order = np.lexsort((begins, places))
        before, after = order[:-1], order[1:]
        near = (places[before] == places[after]) & (begins[after] < ends[before] - _LAP_SECS)
        for a, b in zip(before[near].tolist(), after[near].tolist(), strict=True):
            yield max(a, b), min(a, b)

    def _same_content(
        self, places: Int64Array, manifest: Path, known: dict[int, int]
    ) -> dict[int, int]:
        """Rows of files that differ in name alone."""
        sizes = np.frombuffer(self._sizes, dtype=np.int64)
        _, first, group = np.unique(places, return_index=True, return_inverse=True)
        del group
        _, size_of, counts = np.unique(sizes[first], return_inverse=True, return_counts=True)
        candidates = {int(self._lines[row]): int(row) for row in first[counts[size_of] > 1]}
        if not candidates:
            return {}
        by_size: defaultdict[int, list[tuple[int, Path]]] = defaultdict(list)
        for utterance in iterate_manifest(manifest, check_audio=False, refused=lambda _: None):
            row = candidates.get(utterance.line)
            if row is not None:
                by_size[self._sizes[row]].append((row, utterance.audio_path))
        found: dict[int, int] = {}
        for own in by_size.values():
            for probed in _grouped(own, _PROBE_BYTES):
                for rows in _grouped(probed, None):
                    found |= {row: rows[0][0] for row, _ in rows[1:] if row not in known}
        return found


def _grouped(files: list[tuple[int, Path]], most_bytes: int | None) -> list[list[tuple[int, Path]]]:
    """Files whose contents are equal, in groups of two and more.

    Args:
        most_bytes: compare these in the middle; None: the whole files.
    """
    groups: defaultdict[bytes, list[tuple[int, Path]]] = defaultdict(list)
    for row, path in files:
        groups[_digest(path, most_bytes)].append((row, path))
    return [group for group in groups.values() if len(group) > 1]


def _digest(path: Path, most_bytes: int | None) -> bytes:
    with path.open("rb") as file:
        if most_bytes is None:
            return hashlib.file_digest(file, "blake2b").digest()
        file.seek(max(0, os.fstat(file.fileno()).st_size // 2 - most_bytes // 2))
        return hashlib.blake2b(file.read(most_bytes)).digest()

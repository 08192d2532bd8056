"""Roles' lines as windows of characters, each with the one that follows."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from fedvoice.data.partitions import by_group
from fedvoice.data.shakespeare import CHARACTERS, Role, cut_windows, read_roles
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
REAL = Path(os.environ.get("FEDVOICE_SPEECH", SHARED)) / "shakespeare" / "roles.jsonl.gz"
LINES = [
    {"client": "play/A", "play": "play", "role": "A", "train": ["abcd", "e"], "test": ["ab"]},
    {"client": "play/B", "play": "play", "role": "B", "train": ["b"], "test": ["cab"]},
]


def write_roles(path: Path, *lines: object) -> Path:
    text = "\n".join(json.dumps(line) for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["roles.jsonl.gz", "roles.jsonl"])
def test_a_roles_lines_are_joined_by_line_ends(tmp_path: Path, name: str) -> None:
    roles = read_roles(write_roles(tmp_path / name, *LINES))
    assert roles == [Role("play/A", "abcd\ne", "ab"), Role("play/B", "b", "cab")]


def test_windows_cover_every_step_of_a_text_once() -> None:
    roles = [Role("A", "abcde", "ab"), Role("B", "b", "cab")]
    plays = cut_windows(roles, unroll=3, characters="abcde")
    # "abcde" has four steps: three in the first window, one in the second. "b" has none.
    first, second = plays.train
    assert first.features.tolist() == [[1.0], [2.0], [3.0]]
    assert list(first.targets) == [2, 3, 4]
    assert second.features.tolist() == [[4.0]]
    assert list(second.targets) == [5]
    assert plays.train_roles.tolist() == [0, 0]
    assert [(e.features.tolist(), list(e.targets)) for e in plays.test] == [
        ([[1.0]], [2]),
        ([[3.0], [1.0]], [1, 2]),
    ]
    assert plays.test_roles.tolist() == [0, 1]


def test_no_window_reaches_into_another_roles_text() -> None:
    plays = cut_windows([Role("A", "ab", "ab"), Role("B", "ca", "ca")], characters="abc")
    assert [list(example.targets) for example in plays.train] == [[2], [1]]


def test_a_client_shares_the_characters_of_all() -> None:
    windows = cut_windows([Role("A", "abcd", "ab")], unroll=1, characters="abcd").train
    own = windows.select(np.array([2, 0]))
    assert [list(example.targets) for example in own] == [[4], [2]]
    assert [list(example.targets) for example in own[1:]] == [[2]]
    assert own.ids is windows.ids


def test_a_character_that_the_task_lacks_is_named() -> None:
    with pytest.raises(FedvoiceError, match="'z'") as caught:
        cut_windows([Role("A", "az", "a")], characters="ab")
    assert caught.value.code is ErrorCode.UNKNOWN_TOKEN


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ([LINES[0], {"client": "x", "train": ["a"]}], ":2"),
        ([LINES[0], {"client": "x", "train": 3, "test": []}], ":2"),
        ([], "roles.jsonl"),
        ([LINES[0], LINES[0]], "roles.jsonl"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, lines: list[object], place: str) -> None:
    with pytest.raises(FedvoiceError) as caught:
        read_roles(write_roles(tmp_path / "roles.jsonl", *lines))
    assert caught.value.code is ErrorCode.BAD_MANIFEST
    assert caught.value.where.endswith(place)


def test_a_missing_or_damaged_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "roles.jsonl.gz"
    with pytest.raises(FedvoiceError) as caught:
        read_roles(path)
    assert caught.value.code is ErrorCode.NOT_FOUND
    path.write_bytes(gzip.compress(b"{}" * 100)[:-9])
    with pytest.raises(FedvoiceError) as caught:
        read_roles(path)
    assert caught.value.code is ErrorCode.BAD_MANIFEST


@pytest.mark.skipif(not REAL.is_file(), reason="no real roles here")
def test_the_real_roles_have_76_characters_and_a_client_each() -> None:
    roles = read_roles(REAL)
    assert len({role.client_id for role in roles}) == len(roles) == 1229
    assert set("".join(role.train + role.test for role in roles)) == set(CHARACTERS)
    plays = cut_windows(roles)
    assert len(by_group(plays.train_roles)) == 1229
    assert int(plays.train.lengths.sum()) == sum(len(role.train) - 1 for role in roles)

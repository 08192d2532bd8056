"""A sequence of examples that are made when they are indexed is indexed as lists are."""

from __future__ import annotations

import numpy as np
import pytest

from fedvoice.protocol.engine import Example, Examples


class Shelf(Examples):
    """Example i has the target i; `made` says which were made."""

    def __init__(self, count: int) -> None:
        self._size = count
        self.made: list[int] = []

    def __len__(self) -> int:
        return self._size

    def example(self, index: int) -> Example:
        self.made.append(index)
        return Example(np.zeros((1, 1), np.float32), [index])


def test_examples_are_made_one_by_one_when_they_are_indexed() -> None:
    shelf = Shelf(4)
    assert [shelf[i].targets for i in (0, 3, -1, 2)] == [[0], [3], [3], [2]]
    assert shelf.made == [0, 3, 3, 2]


@pytest.mark.parametrize("part", [slice(1, 3), slice(None), slice(-2, None), slice(None, None, -1)])
def test_a_slice_has_the_examples_that_a_lists_has(part: slice) -> None:
    assert [e.targets for e in Shelf(4)[part]] == [[i] for i in range(4)][part]


def test_they_end_where_they_end() -> None:
    assert [e.targets for e in Shelf(3)] == [[0], [1], [2]]
    for beyond in (3, -4):
        with pytest.raises(IndexError):
            Shelf(3)[beyond]

"""What a partition gives is said before a run: sizes, empty clients, label skew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedvoice.data.dataset import report_of, report_of_phones
from fedvoice.data.memory import MappingDataset
from fedvoice.data.partition_report import describe_partition, describe_sizes
from fedvoice.data.partitions import dirichlet, shards
from fedvoice.data.speakers import PhoneData
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.utterances import Utterance


def test_sizes_empty_clients_and_skew_of_a_small_partition() -> None:
    # Two examples of a and two of b: one client has the first, one the others, one nothing.
    report = describe_partition(
        [np.array([0, 1]), np.array([2, 3]), np.array([], dtype=np.int64)], ["a", "a", "b", "b"]
    )
    assert (report.clients, report.examples, report.empty, report.with_data) == (3, 4, 1, 2)
    assert (report.smallest, report.median, report.largest) == (2, 2.0, 2)
    assert report.label_skew == 0.5  # each is half a distribution away from one half, one half
    mixed = describe_partition([np.array([0, 2]), np.array([1, 3])], ["a", "a", "b", "b"])
    assert mixed.label_skew == 0.0


def test_a_skewed_partition_is_told_from_small_samples() -> None:
    labels = np.arange(600) % 10
    skewed = describe_partition(shards(labels, 10, 2, seed=0), labels)
    even = describe_partition(dirichlet(labels, 10, 1000.0, seed=0), labels)
    assert skewed.label_skew is not None
    assert skewed.random_skew is not None
    assert even.label_skew is not None
    assert even.random_skew is not None
    assert skewed.label_skew >= 0.8 > 0.3 > skewed.random_skew
    assert even.label_skew <= even.random_skew


def test_of_sentences_no_skew_is_claimed() -> None:
    """Each client's share of a label that occurs once is all or nothing, however it was dealt."""
    report = describe_partition([np.arange(0, 4), np.arange(4, 8)], [f"s{i}" for i in range(8)])
    assert report.label_skew is None
    assert report.describe("utterances") == "2 clients: 4 utterances each, 0 empty"


def test_the_line_that_is_printed() -> None:
    assert describe_sizes([52, 68, 60, 0]).describe() == (
        "4 clients: 52-68 examples (median 60), 1 empty"
    )
    assert describe_sizes([0]).describe() == "1 client: all empty"
    labels = ["a", "a", "b", "b"]
    assert describe_partition([np.array([0, 1]), np.array([2, 3])], labels).describe("words") == (
        "2 clients: 2 words each, 0 empty; label skew 0.50 (0.00 if dealt at random)"
    )


def test_held_out_phones_are_no_clients() -> None:
    own = [Utterance(Path(f"/{i}.wav"), "yes", 1.0, "a") for i in range(3)]
    phones = [PhoneData("a", own), PhoneData("b"), PhoneData("c", test=own, held_out=True)]
    report = report_of_phones(phones)
    assert (report.clients, report.empty, report.largest) == (2, 1, 3)


def test_clients_in_memory_are_counted_too() -> None:
    array = np.zeros((4, 3), dtype=np.float32)
    data = MappingDataset({"a": [(array, "yes")] * 2, "b": [(array, "no")] * 4})
    report = report_of(data.clients())
    assert report is not None
    assert (report.clients, report.smallest, report.largest) == (2, 2, 4)
    assert report.label_skew == pytest.approx((4 / 6 + 2 / 6) / 2)


def test_a_cohort_larger_than_the_clients_with_data_is_refused_by_name() -> None:
    report = describe_sizes([5, 5, 0])
    report.demand_cohort(2)
    assert len(report.warnings(2)) == 1
    assert "a cohort of 3 is more than the 2 clients" in report.warnings(3)[1]
    assert describe_sizes([5, 5]).warnings(2) == []
    with pytest.raises(
        FedvoiceError, match="a cohort of 3 from 3 clients: 5 examples each, 1 empty"
    ) as caught:
        report.demand_cohort(3)
    assert caught.value.code is ErrorCode.BAD_CONFIG

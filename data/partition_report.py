"""What a partition gives: the sizes of its clients, and how their labels differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fedvoice.protocol.engine import Int64Array
from fedvoice.protocol.errors import ErrorCode, FedvoiceError


@dataclass(frozen=True)
class PartitionReport:
    """A partition in numbers.

    clients: those that could train, empty ones included. smallest, median, largest: examples of a
    client that has any. label_skew: mean over these of the total variation distance (0..1) between
    a client's labels and those of all examples; None without labels, or if none occurs twice.
    random_skew: the same for a random deal to clients of these sizes: what small samples alone
    give.
    """

    clients: int
    examples: int
    smallest: int
    median: float
    largest: int
    empty: int
    label_skew: float | None = None
    random_skew: float | None = None

    @property
    def with_data(self) -> int:
        """Clients that have examples."""
        return self.clients - self.empty

    def describe(self, what: str = "examples") -> str:
        """One line: "10 clients: 52-68 utterances (median 60), 0 empty; label skew 0.23 (0.21 if
        dealt at random)"."""
        clients = f"{self.clients} client{'' if self.clients == 1 else 's'}"
        if not self.with_data:
            return f"{clients}: all empty"
        sizes = f"{self.smallest} {what} each"
        if self.smallest < self.largest:
            sizes = f"{self.smallest}-{self.largest} {what} (median {self.median:g})"
        told = f"{clients}: {sizes}, {self.empty} empty"
        if self.label_skew is None or self.random_skew is None:
            return told
        return (
            f"{told}; label skew {self.label_skew:.2f} ({self.random_skew:.2f} if dealt at random)"
        )

    def as_dict(self) -> dict[str, Any]:
        """As in `results.json`."""
        return asdict(self)

    def warnings(self, cohort_size: int) -> list[str]:
        """What a run with cohorts of this size should know, one sentence each."""
        found = []
        if self.empty:
            found.append(
                f"{self.empty} of {self.clients} clients have no example and never train; "
                "fewer clients or a larger dirichlet_alpha give each some"
            )
        if cohort_size > self.with_data:
            found.append(
                f"a cohort of {cohort_size} is more than the {self.with_data} clients that have "
                "examples: every round trains all of them"
            )
        return found

    def demand_cohort(self, cohort_size: int) -> None:
        """See that a cohort can be drawn.

        Raises:
            FedvoiceError: `bad-config` if fewer clients have data.
        """
        if cohort_size <= self.with_data:
            return
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="server.cohort_size",
            got=f"a cohort of {cohort_size} from {self.describe()}",
            wanted=f"at most the {self.with_data} clients that have data",
            next_step="Lower server.cohort_size, or partition to more clients: data.clients, fewer "
            "holdout_speakers, a larger dirichlet_alpha.",
        )


def describe_partition(
    parts: Sequence[Int64Array], labels: npt.ArrayLike | None = None
) -> PartitionReport:
    """The report of a partition.

    Args:
        parts: for each client int64 [m], the indices of its examples.
        labels: [n], the label of each example: a transcript, a digit.
    """
    sizes = np.array([len(part) for part in parts], dtype=np.int64)
    report = describe_sizes(sizes)
    if labels is None or not report.examples:
        return report
    chosen = np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])
    distinct, codes = np.unique(np.asarray(labels)[chosen], return_inverse=True)
    if len(distinct) == len(codes):
        return report
    owners = np.repeat(np.arange(len(sizes)), sizes)
    shuffled = np.random.default_rng(0).permutation(codes)
    fields = {
        "label_skew": _skew(codes, owners, sizes),
        "random_skew": _skew(shuffled, owners, sizes),
    }
    return PartitionReport(**{**asdict(report), **fields})


def describe_sizes(sizes: npt.ArrayLike) -> PartitionReport:
    """The report of clients of which only the numbers of examples, [clients], are known."""
    every = np.asarray(sizes, dtype=np.int64)
    filled = every[every > 0]
    if not len(filled):
        return PartitionReport(len(every), 0, 0, 0.0, 0, len(every))
    return PartitionReport(
        clients=len(every),
        examples=int(filled.sum()),
        smallest=int(filled.min()),
        median=float(np.median(filled)),
        largest=int(filled.max()),
        empty=len(every) - len(filled),
    )


def _skew(codes: npt.NDArray[Any], owners: npt.NDArray[Any], sizes: Int64Array) -> float:
    """Mean total variation: codes [n] labels from 0 on, owners [n] the client of each."""
    whole = np.bincount(codes) / len(codes)
    pairs, counts = np.unique(owners * len(whole) + codes, return_counts=True)
    clients, labels = pairs // len(whole), pairs % len(whole)
    # Labels that a client lacks add their share of the whole, which sums to 1 over all labels.
    beyond = np.abs(counts / sizes[clients] - whole[labels]) - whole[labels]
    distances = (1 + np.bincount(clients, weights=beyond, minlength=len(sizes))) / 2
    return float(distances[sizes > 0].mean())

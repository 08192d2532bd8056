"""The registry of partitions: pure functions from labels to the example indices of each client.

A partition of one's own is a function of the same form (`PartitionRule`), registered by the
decorator `PARTITIONS.register(name)`, by an entry point of the group `fedvoice.partitions`, or
named `module:function` in the settings; those built in come the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, field_validator

from fedvoice.data import partitions
from fedvoice.protocol.engine import Int64Array
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.registry import Registry, reference_of


@dataclass(frozen=True)
class Labels:
    """The input of a partition, one entry a training example.

    targets: [n], the label: a transcript, a digit. sources: int64 [n], index into `names` of the
    speaker or role. names: the speakers or roles that train, some perhaps without an example;
    empty for a corpus without speakers.
    """

    targets: npt.ArrayLike
    sources: Int64Array
    names: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.sources)


Parts = list[Int64Array] | dict[str, Int64Array]
"""Indices int64 of each client's examples: in a list (clients are numbered), or by name."""


class PartitionRule(Protocol):
    """A partition. Deterministic: the same arguments give the same parts in every process."""

    def __call__(
        self, labels: Labels, *, clients: int, seed: int, options: Mapping[str, Any]
    ) -> Parts:
        """The indices of each client's examples.

        Args:
            clients: number of clients; 0: as many as `labels.names`.
            seed: of all random draws.
            options: further settings such as `dirichlet_alpha`, and `partition_options`.
        """


def by_source(labels: Labels, *, clients: int, seed: int, options: Mapping[str, Any]) -> Parts:
    """Each speaker (or role) is one client, with the speaker's name."""
    if clients:
        raise bad_partition("clients", f"{clients} with partition speaker", "0: a client a speaker")
    if not labels.names:
        raise bad_partition("partition", "by speaker, of a corpus without speakers", "another one")
    ends = np.cumsum(_sizes(labels))[:-1]
    parts = np.split(np.argsort(labels.sources, kind="stable").astype(np.int64), ends)
    return dict(zip(labels.names, parts, strict=True))


def shuffled(labels: Labels, *, clients: int, seed: int, options: Mapping[str, Any]) -> Parts:
    """IID: among clients of equal size, or, without `clients`, among clients of the speakers' names
    and sizes."""
    if clients or not labels.names:
        return partitions.iid(len(labels), clients, seed)
    order = np.random.default_rng(seed).permutation(len(labels)).astype(np.int64)
    parts = np.split(order, np.cumsum(_sizes(labels))[:-1])
    return dict(zip(labels.names, parts, strict=True))


def by_target(labels: Labels, *, clients: int, seed: int, options: Mapping[str, Any]) -> Parts:
    """Sorted by target, then source, and cut into equal stretches."""
    targets: Any = labels.targets
    if not labels.names:
        return partitions.sorted_by(targets, clients)
    said_by = zip(targets, labels.sources, strict=True)
    keys = [f"{target}\t{labels.names[source]}" for target, source in said_by]
    return partitions.sorted_by(keys, _count(labels, clients))


def in_shards(labels: Labels, *, clients: int, seed: int, options: Mapping[str, Any]) -> Parts:
    """`partitions.shards` by target, `shards_per_client` (2) of them a client."""
    each = int(options.get("shards_per_client", 2))
    return partitions.shards(labels.targets, _count(labels, clients), each, seed)


def in_mixtures(labels: Labels, *, clients: int, seed: int, options: Mapping[str, Any]) -> Parts:
    """`partitions.dirichlet` by target, of `dirichlet_alpha` (0.5)."""
    count, alpha = _count(labels, clients), float(options.get("dirichlet_alpha", 0.5))
    if count > len(labels):
        raise bad_partition("clients", f"{count} of {len(labels)} examples", "one a client")
    return partitions.dirichlet(labels.targets, count, alpha, seed)


PARTITIONS: Registry[PartitionRule] = Registry(
    "partition",
    "fedvoice.partitions",
    {
        "speaker": f"{__name__}:by_source",
        "role": f"{__name__}:by_source",
        "iid": f"{__name__}:shuffled",
        "word": f"{__name__}:by_target",
        "sorted": f"{__name__}:by_target",
        "shards": f"{__name__}:in_shards",
        "dirichlet": f"{__name__}:in_mixtures",
    },
)


class PartitionSettings(BaseModel):
    """Settings that name a partition. (Where clients are counted the setting is `clients`, the
    field `client_count`: `clients` is what a dataset is asked for.)"""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    partition: str = "iid"
    """A name of `PARTITIONS`, or `module:function`."""
    partition_options: dict[str, Any] = {}
    """Passed to the partition as `options`; for user-defined partitions."""

    @field_validator("partition")
    @classmethod
    def _known(cls, name: str) -> str:
        known = PARTITIONS.names()
        if name not in known and ":" not in name:
            raise ValueError(f"known are {', '.join(known)}, or module:function")
        PARTITIONS.get(name)
        return str(name)

    @property
    def chosen(self) -> dict[str, Any]:
        """The partition's entries in `identity`: independent of the alias it was registered
        under, with the version of one whose parts are no longer those of 0.1.0."""
        rule = PARTITIONS.get(self.partition)
        reference = reference_of(rule)
        built_in = reference.startswith(f"{__name__}:")
        named = self.partition if built_in or ":" in self.partition else reference
        default = type(self).model_fields["partition"].default
        return {} if named == default else {"partition": named, **version_of(rule)}

    def __getstate__(self) -> dict[Any, Any]:
        """Pickle the partition by its module, since other processes lack this one's registry."""
        state = super().__getstate__()
        named = PARTITIONS.travelling(self.partition)
        return {**state, "__dict__": {**state["__dict__"], "partition": named}}


def apply_partition(
    rule: str | PartitionRule,
    labels: Labels,
    *,
    clients: int,
    seed: int,
    options: Mapping[str, Any] | None = None,
) -> Parts:
    """Apply a partition, given by name or as a function.

    Raises:
        FedvoiceError: `bad-config` for numbers that do not fit; `bad-plugin`, naming it, for a
            partition of one's own that fails or gives indices of no example.
    """
    name = rule if isinstance(rule, str) else reference_of(rule)
    function = PARTITIONS.get(rule) if isinstance(rule, str) else rule
    with PARTITIONS.naming(name):
        parts = function(labels, clients=clients, seed=seed, options=options or {})
        each = parts.values() if isinstance(parts, dict) else parts
        for part in map(np.asarray, each):
            if len(part) and not 0 <= part.min() <= part.max() < len(labels):
                raise IndexError(f"indices {part.min()}..{part.max()} of {len(labels)} examples")
    return parts


def version_of(rule: str | PartitionRule) -> dict[str, int]:
    """The entry in an identity for a partition that deals otherwise than in 0.1.0; else none."""
    function = PARTITIONS.get(rule) if isinstance(rule, str) else rule
    return {"partition_version": 2} if function is in_mixtures else {}


def numbered(parts: Parts, digits: int) -> dict[str, Int64Array]:
    """Parts by client id: those of a list are called client000 and so on."""
    if isinstance(parts, dict):
        return parts
    return {f"client{i:0{digits}d}": part for i, part in enumerate(parts)}


def bad_partition(where: str, got: str, wanted: str) -> FedvoiceError:
    """`bad-config` for a partition whose numbers do not fit the corpus."""
    return FedvoiceError(
        ErrorCode.BAD_CONFIG,
        where=where,
        got=got,
        wanted=wanted,
        next_step="Correct the numbers of the partition, or take another corpus.",
    )


def _sizes(labels: Labels) -> Int64Array:
    return np.bincount(labels.sources, minlength=len(labels.names)).astype(np.int64)


def _count(labels: Labels, clients: int) -> int:
    return clients or len(labels.names)

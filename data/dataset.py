"""The contract of datasets, and the door that they come through.

A dataset of one's own is a class of this form, usually settings derived from `Corpus`, registered
by `DATASETS.register(name)`, by an entry point of the group `fedvoice.datasets`, or named
`module:Class` as `corpus` of a data table. Those built in come the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Self, cast, runtime_checkable

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    SerializationInfo,
    TypeAdapter,
    ValidationError,
)

from fedvoice.data.partition_report import PartitionReport, describe_partition, describe_sizes
from fedvoice.data.partitioning import PartitionRule
from fedvoice.data.references import Reference, References
from fedvoice.data.speakers import PhoneData
from fedvoice.protocol.engine import Examples, Int64Array
from fedvoice.protocol.notes import Note
from fedvoice.protocol.registry import Registry
from fedvoice.protocol.text import label_of
from fedvoice.protocol.usage import Reason, Usage
from fedvoice.protocol.utterance import audio_of
from fedvoice.protocol.utterances import Utterance
from fedvoice.protocol.vocabulary import Vocabulary

VocabularyOf = Callable[[Mapping[str, Any]], Vocabulary]
"""Builds a task's targets from its table `vocabulary`."""


class Clients(Protocol):
    """A partitioned corpus: the examples each client trains on, and the test sets."""

    @property
    def client_ids(self) -> Sequence[str]:
        """Clients that train, in a fixed order."""

    def train(self, client_id: str) -> References:
        """A client's training examples."""

    @property
    def tests(self) -> Mapping[str, References]:
        """Test examples by the name of their rate: `wer`, of clients that train; `heldout_wer`, of
        clients that do not."""

    @property
    def phones(self) -> Sequence[PhoneData]:
        """The same examples as sound files for emulated phones; empty unless `sounds`."""


@runtime_checkable
class Dataset(Protocol):
    """A corpus that can be partitioned among clients. Picklable if workers use it."""

    @property
    def sounds(self) -> bool:
        """Whether its examples are sound files, the form that emulated phones store."""

    def identity(self) -> dict[str, Any]:
        """Everything that determines the examples and their partition, as JSON. Paths are
        replaced by content digests; settings at their default are left out. Digests of trials
        are computed from it."""

    def task_defaults(self, task: Mapping[str, Any], vocabulary_of: VocabularyOf) -> dict[str, Any]:
        """The tables of a task that the corpus provides defaults for (vocabulary, buckets).

        Args:
            task: the task's settings.
        """

    def clients(self, partition: str | PartitionRule | None = None, seed: int = 0) -> Clients:
        """Partition the corpus among clients. Deterministic for a partition and a seed.

        Args:
            partition: used instead of the one in the dataset's settings.

        Raises:
            FedvoiceError: from reading or partitioning the corpus.
        """


@runtime_checkable
class Spoken(Protocol):
    """A dataset whose utterances can be listed before they are partitioned."""

    def utterances(self) -> Sequence[Utterance]:
        """All utterances."""


class Corpus(BaseModel):
    """Base class for a dataset that is configured by a table of settings. Paths called
    `manifest` or `folder` are relative to the file that holds the table."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    sounds: ClassVar[bool] = False

    def identity(self) -> dict[str, Any]:
        """All settings that differ from their default, except folders: a public corpus is
        identified by its name."""
        return self.settings({"folder"})

    def settings(self, without: set[str]) -> dict[str, Any]:
        """Settings that differ from their default, as JSON, except those in `without`."""
        return self.model_dump(mode="json", by_alias=True, exclude=without, exclude_defaults=True)

    def task_defaults(self, task: Mapping[str, Any], vocabulary_of: VocabularyOf) -> dict[str, Any]:
        """No defaults: the task's settings are complete."""
        return {}

    def prepared(self, directory: Path, note: Note) -> Self:
        """The dataset after generating, in `directory`, the files that it reads."""
        return self


DATASETS: Registry[Callable[..., Any]] = Registry(
    "dataset",
    "fedvoice.datasets",
    {
        "speech": "fedvoice.data.speech:SpeechCorpus",
        "features": "fedvoice.data.feature_files:FeaturesCorpus",
        "mnist": "fedvoice.data.mnist:ImagesCorpus",
        "shakespeare": "fedvoice.data.shakespeare:RolesCorpus",
    },
)
DEFAULT_CORPUS = "speech"


def dataset_of(table: object) -> Dataset:
    """Build the dataset that a table describes: `corpus` names it (default: speech), the other
    entries are its settings. A dataset object is returned unchanged.

    Raises:
        ValueError: for an unknown name; for wrong settings pydantic's ValidationError, its fields
            prefixed by the name.
        FedvoiceError: `bad-plugin` for a dataset that cannot be imported or constructed.
    """
    if not isinstance(table, Mapping):
        if isinstance(table, Dataset):
            return table
        raise ValueError("neither a table of a corpus's settings nor a dataset")
    fields = dict(table)
    name = fields.get("corpus", DEFAULT_CORPUS)
    known = DATASETS.names()
    if not isinstance(name, str) or (name not in known and ":" not in name):
        raise ValueError(f"corpus {name!r}: known are {', '.join(known)}, or module:Class")
    kind = DATASETS.get(name)
    wrong: ValidationError | None = None  # of settings; all else that fails is the plug-in
    with DATASETS.naming(name):
        try:
            made = _made(kind, name, fields)
        except ValidationError as error:
            wrong = error
    if wrong is not None:
        raise wrong
    if not isinstance(made, Dataset):
        raise ValueError(f"corpus {name!r} is no dataset: identity, task_defaults, clients, sounds")
    return made


def naming(dataset: Dataset) -> AbstractContextManager[None]:
    """Turn a dataset's exception in the block into `bad-plugin` naming it; those of fedvoice's own
    datasets pass."""
    kind = type(dataset)
    if kind.__module__.startswith("fedvoice."):
        return nullcontext()
    return DATASETS.naming(DATASETS.known_as(kind))


def identity_of(dataset: Dataset) -> dict[str, Any]:
    """`dataset.identity()`.

    Raises:
        FedvoiceError: `bad-plugin` for a dataset of a user that fails.
    """
    with naming(dataset):
        return dataset.identity()


def clients_of(
    dataset: Dataset, partition: str | PartitionRule | None = None, seed: int = 0
) -> Clients:
    """`dataset.clients(partition, seed)`.

    Raises:
        FedvoiceError: from reading the corpus; `bad-plugin` for a dataset of a user that fails.
    """
    with naming(dataset):
        return dataset.clients(partition, seed)


REPORTED_AT_MOST = 10_000
"""Clients of a dataset of one's own that are counted one by one for a report."""


def report_of(clients: Clients) -> PartitionReport | None:
    """The sizes and the label skew of a partition: those that the clients' method `report` gives,
    else by counting; None of more than `REPORTED_AT_MOST` clients without such a method."""
    report = getattr(clients, "report", None)
    if report is not None:
        return cast("PartitionReport", report())
    if len(clients.client_ids) > REPORTED_AT_MOST:
        return None
    every = [clients.train(client_id) for client_id in clients.client_ids]
    if any(isinstance(own, Examples) for own in every):
        return describe_sizes([len(own) for own in every])
    said = [[_label(one) for one in cast("Sequence[Reference]", own)] for own in every]
    return _report_of_labels(said)


def report_of_phones(phones: Iterable[PhoneData]) -> PartitionReport:
    """The same of utterances; held-out phones do not count."""
    return _report_of_labels(
        [[label_of(u.text) for u in p.train] for p in phones if not p.held_out]
    )


def _report_of_labels(said: Sequence[Sequence[str]]) -> PartitionReport:
    ends = np.cumsum([len(own) for own in said])
    parts = np.split(np.arange(ends[-1] if len(ends) else 0), ends[:-1])
    return describe_partition(parts[: len(said)], [label for own in said for label in own])


def _label(one: Reference) -> str:
    if isinstance(one, Utterance):
        return label_of(one.text)
    return one.text or " ".join(map(str, one.targets or ()))


def described(dataset: Dataset, mode: str = "json") -> dict[str, Any]:
    """A dataset as text: its settings, or its identity if it has none."""
    if isinstance(dataset, BaseModel):
        return dataset.model_dump(mode=mode, by_alias=True)
    return dataset.identity()


def _serialised(dataset: Dataset, info: SerializationInfo) -> dict[str, Any]:
    return described(dataset, info.mode)


DataTable = Annotated[Dataset, PlainValidator(dataset_of), PlainSerializer(_serialised)]
"""A settings field that holds a dataset: a table in TOML, or an object."""


def content_digest(path: Path) -> str:
    """sha256 of a file's content; the path itself if the file cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return str(path)  # reading it later raises the precise error


class Selectable(Protocol):
    """A sequence of examples that can be indexed by an array."""

    def select(self, indices: Int64Array) -> Examples:
        """The examples at indices int64 [m]."""


@dataclass(frozen=True)
class ArrayClients:
    """Examples in shared arrays, partitioned among clients by index.

    indices: client id -> int64 [m], the indices of its examples. report: see `report_of`.
    """

    source: Selectable
    client_ids: Sequence[str]
    indices: Callable[[str], Int64Array]
    tests: Mapping[str, References]
    phones: Sequence[PhoneData] = ()
    report: Callable[[], PartitionReport] | None = None

    def train(self, client_id: str) -> References:
        """See `Clients`."""
        return self.source.select(self.indices(client_id))


class UtteranceClients:
    """Utterances as `data.speakers` partitions them."""

    def __init__(self, phones: Iterable[PhoneData], listed: Sequence[Utterance] = ()) -> None:
        """Args:
        listed: the corpus's utterances, of which those that no client was given are counted.
        """
        self.phones: Sequence[PhoneData] = list(phones)
        self._listed = listed
        self._train: dict[str, list[Utterance]] = {p.client_id: p.train for p in self.phones}
        self.client_ids: Sequence[str] = [p.client_id for p in self.phones if p.train]

    def train(self, client_id: str) -> References:
        """See `Clients`."""
        return self._train[client_id]

    def report(self) -> PartitionReport:
        """See `report_of`; the labels are transcripts."""
        return report_of_phones(self.phones)

    def not_chosen(self) -> Usage:
        """The corpus's utterances that no client was given: of other kinds, of the final test where
        the development split is used."""
        parts = [part for phone in self.phones for part in (phone.train, phone.test)]
        given = {(audio_of(u), u.offset_secs) for part in parts for u in part}
        found = Usage()
        for utterance in self._listed:
            if (audio_of(utterance), utterance.offset_secs) not in given:
                found.leave_out(Reason.NOT_CHOSEN, utterance.where)
        return found

    @property
    def tests(self) -> Mapping[str, References]:
        """See `Clients`."""
        own = [u for p in self.phones if not p.held_out for u in p.test]
        others = [u for p in self.phones if p.held_out for u in p.test]
        return {name: us for name, us in {"wer": own, "heldout_wer": others}.items() if us}


def _made(kind: Callable[..., Any], name: str, fields: dict[str, Any]) -> object:
    model = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    if model is None or "corpus" not in model.model_fields:
        fields.pop("corpus", None)
    if model is None:
        return kind(**fields)
    # As a table of one entry, so that an error's place begins with the corpus's name.
    return TypeAdapter(dict[str, model]).validate_python({name: fields})[name]  # type: ignore[valid-type]

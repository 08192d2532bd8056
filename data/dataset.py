"""The contract of datasets, and the door that they come through.

A dataset of one's own is a class of this form, usually settings derived from `Corpus`, registered
by `DATASETS.register(name)`, by an entry point of the group `fedvoice.datasets`, or named
`module:Class` as `corpus` of a data table. Those built in come the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Self, runtime_checkable

from pydantic import (
    BaseModel,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    SerializationInfo,
    TypeAdapter,
    ValidationError,
)

from fedvoice.data.partitioning import PartitionRule
from fedvoice.data.references import References
from fedvoice.data.speakers import PhoneData
from fedvoice.protocol.engine import Examples, Int64Array
from fedvoice.protocol.notes import Note
from fedvoice.protocol.registry import Registry
from fedvoice.protocol.utterances import Utterance
from fedvoice.protocol.vocabulary import Vocabulary

VocabularyOf = Callable[[Mapping[str, Any]], Vocabulary]
"""Builds a task's targets from its table `vocabulary`."""


class Clients(Protocol):
    """A corpus dealt to clients: who trains on what, and what all are judged on."""

    @property
    def client_ids(self) -> Sequence[str]:
        """Clients that train, in a fixed order."""

    def train(self, client_id: str) -> References:
        """What a client trains on."""

    @property
    def tests(self) -> Mapping[str, References]:
        """By rate: `wer`, test examples of those that train; `heldout_wer`, of others."""

    @property
    def phones(self) -> Sequence[PhoneData]:
        """The same as emulated phones hold it; empty unless the dataset says `sounds`."""


@runtime_checkable
class Dataset(Protocol):
    """A corpus, ready to be dealt. Picklable, if workers are to have it."""

    @property
    def sounds(self) -> bool:
        """Whether it yields sound files, which phones can hold."""

    def identity(self) -> dict[str, Any]:
        """What decides the examples and who holds them, as JSON: content for paths, nothing that
        is left at its default. Digests of results are made of it."""

    def task_defaults(self, task: Mapping[str, Any], vocabulary_of: VocabularyOf) -> dict[str, Any]:
        """The tables of a task that the corpus completes (vocabulary, buckets), whole.

        Args:
            task: what the settings say of the task.
        """

    def clients(self, partition: str | PartitionRule | None = None, seed: int = 0) -> Clients:
        """Deal it. Of one partition and seed always the same.

        Args:
            partition: instead of the one that the dataset's settings name.

        Raises:
            FedvoiceError: what reading it and dealing it raise.
        """


@runtime_checkable
class Spoken(Protocol):
    """A dataset of utterances that can be looked at before they are dealt."""

    def utterances(self) -> Sequence[Utterance]:
        """All of them."""


class Corpus(BaseModel):
    """Settings of a dataset as a table, with what most of them have in common. Paths called
    `manifest` or `folder` are relative to the file of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    sounds: ClassVar[bool] = False

    def identity(self) -> dict[str, Any]:
        """All settings that are not at their default, but for folders: the content of a public
        corpus is known by its name."""
        return self.settings({"folder"})

    def settings(self, without: set[str]) -> dict[str, Any]:
        """Settings that are not at their default, as JSON, `without` some."""
        return self.model_dump(mode="json", by_alias=True, exclude=without, exclude_defaults=True)

    def task_defaults(self, task: Mapping[str, Any], vocabulary_of: VocabularyOf) -> dict[str, Any]:
        """Nothing: the task's file says it all."""
        return {}

    def prepared(self, directory: Path, note: Note) -> Self:
        """The dataset once all is made in `directory` that must be made before it can be read."""
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
    """The dataset that a table of settings means: `corpus` names it (default: speech), the rest
    are its settings. A dataset is taken as it is.

    Raises:
        ValueError: for a name that nobody knows; pydantic's, its fields below the name, for wrong
            settings.
        FedvoiceError: `bad-plugin` for one that cannot be imported or made.
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


def described(dataset: Dataset, mode: str = "json") -> dict[str, Any]:
    """A dataset for people to read: its settings, or else its identity."""
    if isinstance(dataset, BaseModel):
        return dataset.model_dump(mode=mode, by_alias=True)
    return dataset.identity()


def _serialised(dataset: Dataset, info: SerializationInfo) -> dict[str, Any]:
    return described(dataset, info.mode)


DataTable = Annotated[Dataset, PlainValidator(dataset_of), PlainSerializer(_serialised)]
"""A field of settings that is a dataset: a table in TOML, or an object."""


def content_digest(path: Path) -> str:
    """sha256 of a file; of one that cannot be read its path."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return str(path)  # reading it will say what is wrong


class Selectable(Protocol):
    """Examples of which some can be chosen."""

    def select(self, indices: Int64Array) -> Examples:
        """Those at indices int64 [m]."""


@dataclass(frozen=True)
class ArrayClients:
    """Arrays that all clients share, and who holds which of them.

    indices: of a client's examples, int64 [m].
    """

    source: Selectable
    client_ids: Sequence[str]
    indices: Callable[[str], Int64Array]
    tests: Mapping[str, References]
    phones: Sequence[PhoneData] = ()

    def train(self, client_id: str) -> References:
        """See `Clients`."""
        return self.source.select(self.indices(client_id))


class UtteranceClients:
    """Utterances as `data.speakers` deals them."""

    def __init__(self, phones: Iterable[PhoneData]) -> None:
        self.phones: Sequence[PhoneData] = list(phones)
        self._train: dict[str, list[Utterance]] = {p.client_id: p.train for p in self.phones}
        self.client_ids: Sequence[str] = [p.client_id for p in self.phones if p.train]

    def train(self, client_id: str) -> References:
        """See `Clients`."""
        return self._train[client_id]

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

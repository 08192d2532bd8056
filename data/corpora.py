"""Which corpus an experiment learns, and how it is dealt to clients."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fedvoice.data.speakers import Dealing
from fedvoice.data.synthetic import SyntheticCorpusConfig


class DataConfig(Dealing):
    """Either a manifest or a synthetic corpus, and how it is dealt to phones."""

    manifest: Path | None = None
    """Relative to the configuration file."""
    synthetic: SyntheticCorpusConfig | None = None
    kinds: tuple[str, ...] = ()
    """Keep only utterances whose `kind` is listed; empty keeps all."""

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        if (self.manifest is None) == (self.synthetic is None):
            raise ValueError("give either data.manifest or [data.synthetic]")
        return self


class SpeechCorpus(DataConfig):
    """Utterances of a manifest, dealt as `fedvoice simulate` deals them."""

    corpus: Literal["speech"] = "speech"

    @model_validator(mode="after")
    def _manifest_given(self) -> SpeechCorpus:
        if self.manifest is None:
            raise ValueError("give a manifest: `fedvoice data synthetic` makes one, too")
        return self

    def identity(self) -> dict[str, Any]:
        """What decides the examples: the manifest's content stands for its path."""
        fields = self.model_dump(mode="json", exclude={"manifest"}, exclude_defaults=True)
        if self.manifest is not None:
            fields["manifest"] = content_digest(self.manifest)
        return fields


class FeaturesCorpus(Dealing):
    """Utterances as features (`data.feature_files`), dealt as speech is. Phones hold sounds,
    so this is for the engines of the laboratory alone."""

    corpus: Literal["features"]
    manifest: Path

    def identity(self) -> dict[str, Any]:
        """What decides the examples: the manifest's content stands for its path."""
        fields = self.model_dump(mode="json", exclude={"manifest"}, exclude_defaults=True)
        return {**fields, "manifest": content_digest(self.manifest)}


class ImagesCorpus(BaseModel):
    """MNIST: the four idx files of `folder`, gzipped or not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: Literal["mnist"]
    folder: Path
    partition: Literal["iid", "shards"] = "iid"
    clients: int = Field(default=100, ge=1)
    examples_per_client: int = Field(default=0, ge=0)
    """With iid: so many images a client, drawn from all with repetition, however many clients; 0:
    every image is dealt once."""
    shards_per_client: int = Field(default=2, ge=1)
    train_images: int = Field(default=60000, ge=1)
    """The first so many; fewer for a quick look."""
    test_images: int = Field(default=10000, ge=1)

    @model_validator(mode="after")
    def _drawn_alike(self) -> ImagesCorpus:
        if self.examples_per_client and self.partition != "iid":
            raise ValueError("examples_per_client wants the partition iid")
        return self

    def identity(self) -> dict[str, Any]:
        """Settings without the path: MNIST is MNIST."""
        return self.model_dump(mode="json", exclude={"folder"}, exclude_defaults=True)


class RolesCorpus(BaseModel):
    """Shakespeare by role: `roles.jsonl.gz` of `folder`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: Literal["shakespeare"]
    folder: Path
    partition: Literal["iid", "role"] = "role"
    roles: int = Field(default=0, ge=0)
    """The first so many roles; 0: all."""
    unroll: int = Field(default=80, ge=1)
    test_characters: int = Field(default=200_000, ge=1)
    """Of all roles' test lines together, evenly thinned: evaluating all takes minutes."""

    def identity(self) -> dict[str, Any]:
        """Settings without the path."""
        return self.model_dump(mode="json", exclude={"folder"}, exclude_defaults=True)


CorpusConfig = SpeechCorpus | FeaturesCorpus | ImagesCorpus | RolesCorpus


def content_digest(path: Path) -> str:
    """sha256 of a file; of one that cannot be read its path."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return str(path)  # reading it will say what is wrong

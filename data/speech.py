"""Speech as a dataset: the utterances of a manifest, or of synthetic voices, partitioned among
clients."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from fedvoice.data.buckets import fit_buckets
from fedvoice.data.check import check_durations
from fedvoice.data.dataset import Corpus, UtteranceClients, VocabularyOf, content_digest
from fedvoice.data.partitioning import PartitionRule
from fedvoice.data.speakers import SpeechPartitionSettings, partition
from fedvoice.data.synthetic import SyntheticCorpusConfig, build_synthetic_corpus
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.notes import Note
from fedvoice.protocol.task import FeatureSettings
from fedvoice.protocol.text import TextRule
from fedvoice.protocol.utterances import Utterance, read_manifest

_log = logging.getLogger("fedvoice.data")
DEFAULT_BUCKETS = 2
"""Vocabulary of a task whose settings have none."""


class DataConfig(SpeechPartitionSettings, Corpus):
    """Either a manifest or a synthetic corpus, and its partition among clients."""

    sounds: ClassVar[bool] = True

    manifest: Path | None = None
    """Relative to the configuration file."""
    synthetic: SyntheticCorpusConfig | None = None
    kinds: tuple[str, ...] = ()
    """Keep only utterances whose `kind` is listed; empty keeps all."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.manifest is None) == (self.synthetic is None):
            raise ValueError("give either data.manifest or [data.synthetic]")
        return self

    def identity(self) -> dict[str, Any]:
        """See `Dataset.identity`; the manifest is identified by its content."""
        fields = self.settings({"manifest", "partition"})
        if self.manifest is not None:
            fields["manifest"] = content_digest(self.manifest)
        return {**fields, **self.chosen}

    def prepared(self, directory: Path, note: Note) -> Self:
        """Synthesise the voices into `directory`, unless an earlier start has done so."""
        if self.synthetic is None:
            return self
        manifest = directory / "corpus" / "manifest.jsonl"
        if not manifest.is_file():
            build_synthetic_corpus(
                manifest.parent,
                self.synthetic,
                lambda done, total: note(f"synthesise voices: {done} of {total}"),
            )
        return self.model_copy(update={"manifest": manifest, "synthetic": None})

    def utterances(self) -> list[Utterance]:
        """The utterances of the chosen kinds.

        Raises:
            FedvoiceError: what `read_manifest` and `check_durations` raise; `bad-config` if none
                is left.
        """
        return self._of_chosen_kinds(self._listed())

    def _listed(self) -> list[Utterance]:
        assert self.manifest is not None, "synthetic voices are prepared first"
        found = read_manifest(self.manifest)
        _check_once(self.manifest, found)
        return found

    def _of_chosen_kinds(self, listed: Sequence[Utterance]) -> list[Utterance]:
        found = [u for u in listed if not self.kinds or u.kind in self.kinds]
        if not found:
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where="data.kinds",
                got=f"no utterance of kind {', '.join(self.kinds)}",
                wanted=f"a kind that {self.manifest} has",
                next_step="Correct data.kinds.",
            )
        return found

    def task_defaults(self, task: Mapping[str, Any], vocabulary_of: VocabularyOf) -> dict[str, Any]:
        """Targets: the manifest's; buckets that hold every utterance."""
        texts = {"manifest": self.manifest}
        return completed(task, vocabulary_of, lambda _: texts, self.utterances)

    def clients(
        self, partition: str | PartitionRule | None = None, seed: int = 0
    ) -> UtteranceClients:
        """One client a speaker, or the partition's clients."""
        listed = self._listed()
        return partition_utterances(self._of_chosen_kinds(listed), self, partition, seed, listed)


class SpeechCorpus(DataConfig):
    """Utterances of a manifest, partitioned as in `fedvoice simulate`."""

    corpus: Literal["speech"] = "speech"

    @model_validator(mode="after")
    def _manifest_given(self) -> Self:
        if self.manifest is None:
            raise ValueError("give a manifest: `fedvoice data synthetic` makes one, too")
        return self


def partition_utterances(
    utterances: Sequence[Utterance],
    rules: SpeechPartitionSettings,
    rule: str | PartitionRule | None,
    seed: int,
    listed: Sequence[Utterance] | None = None,
) -> UtteranceClients:
    """Partition utterances by a dataset's settings, or by `rule` instead.

    Args:
        listed: those that `utterances` were chosen of; the clients count what they were not given.
    """
    phones = partition(utterances, rules, seed=seed, rule=rule)
    return UtteranceClients(phones, utterances if listed is None else listed)


_checked: set[tuple[str, int, int]] = set()
"""Manifests whose durations this process has compared with the files."""


def _check_once(manifest: Path, utterances: Sequence[Utterance]) -> None:
    found = manifest.stat()
    version = (str(manifest.absolute()), found.st_mtime_ns, found.st_size)
    if version not in _checked:
        check_durations(utterances)
        _checked.add(version)


def completed(
    task: Mapping[str, Any],
    vocabulary_of: VocabularyOf,
    texts: Callable[[TextRule], Mapping[str, Any]],
    utterances: Callable[[], Sequence[Utterance]],
) -> dict[str, Any]:
    """The tables vocabulary and buckets of a task of speech.

    Args:
        texts: the vocabulary's source, `tokens` or `manifest`, if the task names none; given the
            task's text rule.
        utterances: the buckets are fitted to them if the task has no buckets.
    """
    vocabulary = dict(task.get("vocabulary", {}))
    if not {"tokens", "manifest"} & set(vocabulary):
        vocabulary |= texts(TextRule.model_validate(vocabulary.get("text", {})))
    if "buckets" in task:
        return {"vocabulary": vocabulary}
    buckets = fit_buckets(
        utterances(),
        FeatureSettings.model_validate(task.get("features", {})),
        vocabulary_of(vocabulary),
        count=DEFAULT_BUCKETS,
    )
    return {"vocabulary": vocabulary, "buckets": buckets}

"""What a task uses of a corpus, looked at before anything is trained (law 11)."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedvoice.data.audio import check_array, read_waveform, segment_bounds
from fedvoice.data.check import Facts, check_duration
from fedvoice.data.dataset import Clients, Dataset, UtteranceClients, clients_of, identity_of
from fedvoice.data.fit import REASONS, bucket_reason, targets_or_reason, text_and_targets
from fedvoice.data.readiness import warnings_of_clients
from fedvoice.data.references import ArrayReference, Reference, References
from fedvoice.protocol.engine import Examples
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import write_file
from fedvoice.protocol.notes import Note
from fedvoice.protocol.task import TaskManifest
from fedvoice.protocol.usage import Reason, Usage, demand_usable, total
from fedvoice.protocol.utterance import audio_of
from fedvoice.protocol.utterances import MANIFEST_LOGGER, Utterance

USAGE_DIR = "usage"
"""Folder of counts, beside what shares them."""
LISTENED_SECS = 10 * 3600.0
"""Of a longer corpus only headers and texts are looked at; `fedvoice data check` listens to any."""
_NOTED_EVERY = 200


@dataclass(frozen=True)
class CorpusUsage:
    """train: of the clients that train. tests: by the name of the rate that they are for. warnings:
    what such a corpus cannot teach or measure, a sentence each."""

    train: Usage
    tests: Mapping[str, Usage] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def whole(self) -> Usage:
        """All of the corpus that is looked at."""
        return total([self.train, *self.tests.values()])

    def lines(self) -> list[str]:
        """What is said before training."""
        tests = total(self.tests.values())
        return [
            f"training: {self.train.describe()}",
            f"tests: {tests.describe()}",
            *(f"warning: {warning}" for warning in self.warnings),
        ]

    def as_dict(self) -> dict[str, Any]:
        """As in results.json."""
        tests = {name: usage.as_dict() for name, usage in self.tests.items()}
        return {"train": self.train.as_dict(), "tests": tests, "warnings": list(self.warnings)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> CorpusUsage:
        """What `as_dict` gave."""
        tests = {name: Usage.from_dict(own) for name, own in fields.get("tests", {}).items()}
        return cls(Usage.from_dict(fields["train"]), tests, tuple(fields.get("warnings", ())))


@contextmanager
def said_of_manifests() -> Iterator[list[str]]:
    """Warnings about manifests that are read within this, such as splits of another name: a trial's
    process has no terminal to say them on."""
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, keep = logging.getLogger(MANIFEST_LOGGER), Keep(logging.WARNING)
    logger.addHandler(keep)
    try:
        yield said
    finally:
        logger.removeHandler(keep)


def usage_of(
    clients: Clients, task: TaskManifest, note: Note, said: Sequence[str] = ()
) -> CorpusUsage:
    """Look at every example of a partitioned corpus, training and test, and listen to it, too,
    where it lasts no longer than `LISTENED_SECS`.

    Args:
        said: of the corpus when it was read; warnings, too.

    Raises:
        FedvoiceError: `missing-audio`: a file that is not there concerns the whole corpus.
    """
    training = [clients.train(client_id) for client_id in clients.client_ids]
    tests = dict(clients.tests)
    looking = _Looking(task, note, [*training, *tests.values()])
    trained = total(looking.at(part) for part in training)
    if isinstance(clients, UtteranceClients):
        trained.add(clients.not_chosen())
    return CorpusUsage(
        trained,
        {name: looking.at(part, testing=True) for name, part in tests.items()},
        (*said, *warnings_of_clients(clients, task.vocabulary)),
    )


def kept_usage(
    dataset: Dataset, seed: int, task: TaskManifest, folder: Path, note: Note
) -> CorpusUsage:
    """`usage_of`, looked at once for all trials that share a corpus and a task, until a file of the
    corpus is written again.

    Args:
        seed: of the partition. folder: where it is kept.
    """
    with said_of_manifests() as said:
        clients = clients_of(dataset, seed=seed)
    parts = {
        "data": identity_of(dataset),
        "files": _versions(clients),
        "task": task.model_dump(mode="json", include={"features", "buckets", "vocabulary"}),
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]
    path = folder / f"{digest}.json"
    if path.is_file():
        return CorpusUsage.from_dict(json.loads(path.read_text(encoding="utf-8")))
    found = usage_of(clients, task, note, said)
    folder.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(found.as_dict(), indent=1))
    return found


def _versions(clients: Clients) -> str:
    """Digest of the corpus's sound files as they are now: sizes and times of writing."""
    digest = hashlib.sha256()
    parts = [*(clients.train(own) for own in clients.client_ids), *clients.tests.values()]
    listed = [r for part in parts if not isinstance(part, Examples) for r in part]
    for audio in sorted({audio_of(r) for r in listed if isinstance(r, Utterance)}):
        try:
            found = os.stat(audio)
        except OSError:
            continue  # reading it raises the precise error
        digest.update(f"{audio}|{found.st_size}|{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def check_usable(usage: CorpusUsage, where: str, *, allow_skipped: bool = False) -> None:
    """Stop before a training that would leave out a good part of the corpus.

    Raises:
        FedvoiceError: as `protocol.usage.demand_usable`.
    """
    whole = usage.whole if usage.train.used else usage.train
    demand_usable(whole, where, allow_skipped=allow_skipped)


class _Looking:
    """One pass over a corpus."""

    def __init__(self, task: TaskManifest, note: Note, parts: Sequence[References]) -> None:
        self._task, self._note = task, note
        listed = [r for part in parts if not isinstance(part, Examples) for r in part]
        self._all, self._seen = len(listed), 0
        self._facts = Facts()
        spoken = [r for r in listed if not isinstance(r, ArrayReference)]
        self._listen = sum(u.duration_secs for u in spoken) <= LISTENED_SECS

    def at(self, part: References, *, testing: bool = False) -> Usage:
        if isinstance(part, Examples):  # arrays of one shape, which made the task's bucket
            return Usage(len(part))
        usage = Usage()
        for reference in part:
            if self._seen % _NOTED_EVERY == 0:
                self._note(f"look at the corpus: {self._seen} of {self._all}")
            self._seen += 1
            reason, where = self._reason(reference, testing)
            if reason is None:
                usage.used += 1
            else:
                usage.leave_out(reason, where)
        return usage

    def _reason(self, reference: Reference, testing: bool) -> tuple[Reason | None, str]:
        if isinstance(reference, Utterance):
            where = str(reference.audio_path)
        else:
            where = f"an array for {reference.text!r}"
        if isinstance(reference, ArrayReference):  # features in a file are utterances, too
            return _array_reason(reference, self._task, testing), where
        return self._spoken_reason(reference, where, testing), where

    def _spoken_reason(self, utterance: Utterance, where: str, testing: bool) -> Reason | None:
        try:
            facts = self._facts(utterance)
            check_duration(utterance, facts)
            begin, end = segment_bounds(
                facts.samples,
                facts.sample_rate,
                where,
                utterance.offset_secs or 0.0,
                utterance.segment_secs,
            )
            found = targets_or_reason(
                end - begin, facts.sample_rate, utterance.text, self._task, testing=testing
            )
            if isinstance(found, Reason):
                return found
            if self._listen:
                read_waveform(
                    utterance.audio_path,
                    self._task.features,
                    where,
                    offset_secs=utterance.offset_secs or 0.0,
                    duration_secs=utterance.segment_secs,
                )
        except FedvoiceError as error:
            # A file that is not there usually concerns the whole corpus.
            if error.code is ErrorCode.MISSING_AUDIO or str(error.code) not in REASONS:
                raise
            return Reason(str(error.code))
        return None


def _array_reason(reference: ArrayReference, task: TaskManifest, testing: bool) -> Reason | None:
    array, settings = reference.array(), task.features
    frames = len(array) if array.ndim == 2 else settings.frames(len(array))
    if frames < 1:
        return Reason.TOO_SHORT
    try:
        _, targets = text_and_targets(reference, task, testing=testing)
        check_array(array, "an example of the corpus")
    except FedvoiceError as error:
        return Reason(error.code.value)
    return bucket_reason(settings.stacked_frames(frames), len(targets), task)

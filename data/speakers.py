"""Partitioning a corpus of speech among clients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
from pydantic import Field

from fedvoice.data.partitioning import (
    Labels,
    PartitionRule,
    PartitionSettings,
    apply_partition,
    bad_partition,
    numbered,
)
from fedvoice.data.splits import drawn_split
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.text import label_of
from fedvoice.protocol.utterances import Utterance

DEVELOPMENT_FRACTION = 0.2
DEVELOPMENT_VERSION = 2
"""In the identity of corpora whose development split is used; 1, which is not written, took every
fifth utterance of a speaker's list."""


class Partition(StrEnum):
    """Names of the partitions that are built in for speech (`data.partitioning` has all)."""

    SPEAKER = "speaker"
    """One client a speaker, as with real phones."""
    IID = "iid"
    """The utterances of all speakers shuffled: split among clients of the speakers' sizes or, with
    `clients`, among that many clients of equal size."""
    WORD = "word"
    """Sorted by transcript (then speaker) and split into equal parts: the hardest non-IID case."""
    SHARDS = "shards"
    """Sorted by transcript and split into shards, `shards_per_client` a client (McMahan et al.
    2016)."""
    DIRICHLET = "dirichlet"
    """Each client's mixture of transcripts is drawn from a Dirichlet of `dirichlet_alpha`."""


class SpeechPartitionSettings(PartitionSettings):
    """Settings of the partition of a speech corpus."""

    partition: str = Partition.SPEAKER.value
    holdout_speakers: int = Field(default=0, ge=0)
    """Number of speakers held out, spread evenly over the sorted list: they never train, and all
    their utterances are test utterances. 8 of 40 are those with index % 5 == 4."""
    client_count: int = Field(default=0, ge=0, alias="clients")
    """Number of clients that train; 0: as many as speakers that train. Not with `speaker`."""
    shards_per_client: int = Field(default=2, ge=1)
    dirichlet_alpha: float = Field(default=0.5, gt=0)
    """Small: a client has few of the words; large: near IID."""
    development: bool = False
    """Use the development split, on which plans are chosen: held-out speakers and test utterances
    are left out and replaced by part of the training data (`development_split`)."""

    @property
    def chosen(self) -> dict[str, Any]:
        """See `PartitionSettings`; with the version of the development split where it is used."""
        version = {"development": DEVELOPMENT_VERSION} if self.development else {}
        return {**super().chosen, **version}


@dataclass(frozen=True)
class PhoneData:
    """Speech of one client. A held-out client never trains; it only evaluates."""

    client_id: str
    train: list[Utterance] = field(default_factory=list)
    test: list[Utterance] = field(default_factory=list)
    held_out: bool = False


def partition(
    utterances: Sequence[Utterance],
    rules: SpeechPartitionSettings,
    *,
    seed: int,
    rule: str | PartitionRule | None = None,
) -> list[PhoneData]:
    """Partition a corpus among clients.

    A part named after a speaker keeps that speaker's test utterances. Otherwise clients are called
    client000 and so on, and the speakers' test utterances are assigned to them in turn.

    Args:
        seed: of all random draws.
        rule: used instead of the partition that `rules` names.

    Raises:
        FedvoiceError: `bad-manifest` without speakers; `bad-config` if none is left to train, or
            for numbers that do not fit the corpus.
    """
    if rules.development:
        utterances = development_split(utterances, rules.holdout_speakers)
    phones = _by_speaker(utterances, rules.holdout_speakers)
    training = {phone.client_id: phone for phone in phones if not phone.held_out}
    pool = [utterance for phone in training.values() for utterance in phone.train]
    if not pool:
        raise bad_partition(
            "training utterances",
            f"of {len(utterances)}, none for training by a speaker that is not held out",
            "utterances to train on",
        )
    if rules.client_count > len(pool):
        raise bad_partition(
            "clients",
            f"{rules.client_count} clients for {len(pool)} training utterances",
            "at least one utterance a client, or a shard",
        )
    options = {
        "shards_per_client": rules.shards_per_client,
        "dirichlet_alpha": rules.dirichlet_alpha,
        **rules.partition_options,
    }
    sizes = [len(phone.train) for phone in training.values()]
    sources = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    labels = Labels([label_of(utterance.text) for utterance in pool], sources, tuple(training))
    chosen = apply_partition(
        rule or rules.partition, labels, clients=rules.client_count, seed=seed, options=options
    )
    parts = {who: [pool[i] for i in own] for who, own in numbered(chosen, 3).items()}
    if isinstance(chosen, dict) and parts.keys() <= training.keys():
        return [p if p.held_out else replace(p, train=parts.get(p.client_id, [])) for p in phones]
    tests = [utterance for phone in training.values() for utterance in phone.test]
    return [
        *(
            PhoneData(who, own, tests[i :: len(parts)])
            for i, (who, own) in enumerate(parts.items())
        ),
        *(phone for phone in phones if phone.held_out),
    ]


def development_split(utterances: Sequence[Utterance], holdout_speakers: int) -> list[Utterance]:
    """A smaller corpus for choosing plans, cut from the speakers that would train.

    Held-out speakers and all test utterances are removed; of each remaining speaker's training
    utterances a fifth, drawn at random (`splits.drawn_split`), become test utterances. The draw is
    the same for every seed of a run, so that plans are compared on the same recordings.
    """
    speakers = sorted({u.speaker for u in utterances})
    unseen = held_out_speakers(speakers, holdout_speakers)
    speakers = [speaker for speaker in speakers if speaker not in unseen]
    # Those held out in their place train nobody: a word that they alone are left with is lost.
    next_ones = held_out_speakers(speakers, holdout_speakers)
    kept = [u for u in utterances if u.split != "test" and u.speaker not in unseen]
    return [
        *(u for u in kept if u.speaker in next_ones),
        *drawn_split([u for u in kept if u.speaker not in next_ones], DEVELOPMENT_FRACTION),
    ]


def held_out_speakers(speakers: Sequence[str], count: int) -> set[str]:
    """`count` of the sorted speakers, the last one of each of `count` equal stretches."""
    if count >= len(speakers):
        return set(speakers)
    return {speakers[(i + 1) * len(speakers) // count - 1] for i in range(count)}


def _speakers(utterances: Iterable[Utterance]) -> dict[str, list[Utterance]]:
    by_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        by_speaker[utterance.speaker].append(utterance)
    return by_speaker


def _by_speaker(utterances: Sequence[Utterance], holdout_speakers: int) -> list[PhoneData]:
    by_speaker = _speakers(utterances)
    speakers = sorted(by_speaker)
    if "" in by_speaker:
        raise FedvoiceError(
            ErrorCode.BAD_MANIFEST,
            where=f"utterance {by_speaker[''][0].audio_path}",
            got="no speaker",
            wanted="a speaker for every utterance: each becomes a client",
            next_step="Add the field speaker to every line of the manifest.",
        )
    if not 0 <= holdout_speakers < len(speakers):
        raise bad_partition(
            "holdout_speakers",
            f"{holdout_speakers} of {len(speakers)} speakers",
            "fewer than all of them",
        )
    held_out = held_out_speakers(speakers, holdout_speakers)
    phones = []
    for speaker in speakers:
        own = by_speaker[speaker]
        if speaker in held_out:
            phones.append(PhoneData(speaker, test=own, held_out=True))
        else:
            train = [u for u in own if u.split != "test"]
            test = [u for u in own if u.split == "test"]
            # Who has test utterances alone, as in corpora with test speakers, never trains.
            phones.append(PhoneData(speaker, train, test, held_out=not train))
    return phones

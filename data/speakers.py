"""Who holds which speech: a corpus dealt out to phones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fedvoice.data import partitions as dealing
from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
)
from fedvoice.protocol.utterances import Utterance


class Partition(StrEnum):
    """How training utterances are dealt."""

    SPEAKER = "speaker"
    """Each phone holds one speaker's speech: what real phones are like."""
    IID = "iid"
    """The utterances of all speakers shuffled: among phones of the speakers' sizes, or, with
    `clients`, among that many phones of equal size."""
    WORD = "word"
    """Sorted by transcript (then speaker) and cut into equal stretches: the hardest non-IID."""
    SHARDS = "shards"
    """Sorted by transcript, cut into shards, `shards_per_client` of them to a phone (McMahan et
    al. 2016)."""
    DIRICHLET = "dirichlet"
    """Each phone's mixture of transcripts is drawn from a Dirichlet of `dirichlet_alpha`."""


class Dealing(BaseModel):
    """What decides who holds what, beside the seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: Partition = Partition.SPEAKER
    holdout_speakers: int = Field(default=0, ge=0)
    """Speakers, spread evenly over the sorted list, whose phones only evaluate: all their
    utterances are test utterances. 8 of 40 are those with index % 5 == 4."""
    clients: int = Field(default=0, ge=0)
    """Phones that train; 0: as many as speakers that train. Not with `speaker`."""
    shards_per_client: int = Field(default=2, ge=1)
    dirichlet_alpha: float = Field(default=0.5, gt=0)
    """Small: a phone says few of the words; large: near IID."""
    development: bool = False
    """Plans are chosen here: held-out speakers and test utterances are left away, and a part of
    what the others train on takes their place (`development_split`)."""


@dataclass(frozen=True)
class PhoneData:
    """Speech of one phone. A held-out phone never trains; it only evaluates."""

    client_id: str
    train: list[Utterance] = field(default_factory=list)
    test: list[Utterance] = field(default_factory=list)
    held_out: bool = False


def partition(utterances: Sequence[Utterance], rules: Dealing, *, seed: int) -> list[PhoneData]:
    """Deal a corpus to phones.

    By speaker a phone has its speaker's name; otherwise phones are called client000 and so on and
    the speakers' test utterances are dealt to them in turn.

    Args:
        seed: of everything that is drawn.

    Raises:
        FedvoiceError: `bad-manifest` without speakers; `bad-config` if none is left to train, or
            for numbers that do not fit the corpus.
    """
    if rules.development:
        utterances = development_split(utterances, rules.holdout_speakers)
    phones = _by_speaker(utterances, rules.holdout_speakers)
    if rules.partition is Partition.SPEAKER:
        if rules.clients:
            raise _bad("clients", f"{rules.clients} with partition speaker", "0: a phone a speaker")
        return phones
    if rules.partition is Partition.IID and not rules.clients:
        return _deal_again(phones, seed)
    training = [phone for phone in phones if not phone.held_out]
    return [
        *_deal_anew(training, rules, seed),
        *(phone for phone in phones if phone.held_out),
    ]


def development_split(utterances: Sequence[Utterance], holdout_speakers: int) -> list[Utterance]:
    """A smaller corpus for choosing plans, cut from the speakers that would train.

    Held-out speakers and all test utterances are gone; of every speaker's training utterances the
    last of each five become test utterances.
    """
    by_speaker = _speakers(utterances)
    held_out = held_out_speakers(sorted(by_speaker), holdout_speakers)
    kept = []
    for speaker in sorted(set(by_speaker) - held_out):
        own = [u for u in by_speaker[speaker] if u.split != "test"]
        kept += [replace(u, split="test" if i % 5 == 4 else "train") for i, u in enumerate(own)]
    return kept


def held_out_speakers(speakers: Sequence[str], count: int) -> set[str]:
    """`count` of the sorted speakers, the last one of each of `count` equal stretches."""
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
            wanted="a speaker for every utterance: each becomes a phone",
            next_step="Add the field speaker to every line of the manifest.",
        )
    if not 0 <= holdout_speakers < len(speakers):
        raise _bad(
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
            phones.append(PhoneData(speaker, train, [u for u in own if u.split == "test"]))
    return phones


def _deal_again(phones: list[PhoneData], seed: int) -> list[PhoneData]:
    pool = [utterance for phone in phones for utterance in phone.train]
    order = np.random.default_rng(seed).permutation(len(pool))
    dealt, start = [], 0
    for phone in phones:
        end = start + len(phone.train)
        dealt.append(replace(phone, train=[pool[i] for i in order[start:end]]))
        start = end
    return dealt


def _deal_anew(training: Sequence[PhoneData], rules: Dealing, seed: int) -> list[PhoneData]:
    """The training phones' speech, dealt to phones that stand for nobody."""
    pool = [utterance for phone in training for utterance in phone.train]
    tests = [utterance for phone in training for utterance in phone.test]
    clients = rules.clients or len(training)
    wanted = clients * (rules.shards_per_client if rules.partition is Partition.SHARDS else 1)
    if wanted > len(pool):
        raise _bad(
            "clients",
            f"{clients} phones for {len(pool)} training utterances",
            "at least one utterance a phone, or a shard",
        )
    words = [utterance.text for utterance in pool]
    match rules.partition:
        case Partition.WORD:
            dealt = dealing.sorted_by([f"{u.text}\t{u.speaker}" for u in pool], clients)
        case Partition.SHARDS:
            dealt = dealing.shards(words, clients, rules.shards_per_client, seed)
        case Partition.DIRICHLET:
            dealt = dealing.dirichlet(words, clients, rules.dirichlet_alpha, seed)
        case _:
            dealt = dealing.iid(len(pool), clients, seed)
    return [
        PhoneData(f"client{i:03d}", [pool[j] for j in own], tests[i::clients])
        for i, own in enumerate(dealt)
    ]


def _bad(where: str, got: str, wanted: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_CONFIG,
        where=where,
        got=got,
        wanted=wanted,
        next_step="Correct the numbers of the partition, or take another corpus.",
    )

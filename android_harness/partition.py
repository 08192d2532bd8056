"""Who holds which speech: a corpus dealt out to phones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from protocol.errors import ErrorCode, FedvoiceError
from protocol.utterances import Utterance


class Partition(StrEnum):
    """How training utterances are dealt."""

    SPEAKER = "speaker"
    """Each phone holds one speaker's speech: what real phones are like."""
    IID = "iid"
    """The same phones and sizes, with the utterances of all speakers shuffled among them."""


@dataclass(frozen=True)
class PhoneData:
    """Speech of one phone. A held-out phone never trains; it only evaluates."""

    client_id: str
    train: list[Utterance] = field(default_factory=list)
    test: list[Utterance] = field(default_factory=list)
    held_out: bool = False


def partition(
    utterances: Sequence[Utterance], how: Partition, *, holdout_speakers: int, seed: int
) -> list[PhoneData]:
    """Deal a corpus to phones, one a speaker.

    Args:
        holdout_speakers: speakers, spread evenly over the sorted list, whose phones only
            evaluate: all their utterances are test utterances. For 8 of 40 these are the
            speakers with index % 5 == 4.
        seed: of the IID shuffle.

    Raises:
        FedvoiceError: `bad-manifest` without speakers; `bad-config` if none is left to train.
    """
    by_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        by_speaker[utterance.speaker].append(utterance)
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
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="holdout_speakers",
            got=f"{holdout_speakers} of {len(speakers)} speakers",
            wanted="fewer than all of them",
            next_step="Hold out fewer speakers.",
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
    return phones if how is Partition.SPEAKER else _deal_again(phones, seed)


def held_out_speakers(speakers: Sequence[str], count: int) -> set[str]:
    """`count` of the sorted speakers, the last one of each of `count` equal stretches."""
    return {speakers[(i + 1) * len(speakers) // count - 1] for i in range(count)}


def _deal_again(phones: list[PhoneData], seed: int) -> list[PhoneData]:
    pool = [utterance for phone in phones for utterance in phone.train]
    order = np.random.default_rng(seed).permutation(len(pool))
    dealt, start = [], 0
    for phone in phones:
        end = start + len(phone.train)
        dealt.append(replace(phone, train=[pool[i] for i in order[start:end]]))
        start = end
    return dealt
